"""What one forward pass really did.

:mod:`recorder` runs the network once under a dispatch mode and writes a :class:`~.trace.Trace`: values, nodes, calls.
:mod:`running` borrows the network for that (its mode, its buffers) and gives it back; :mod:`aten` asks the dispatcher
about a single operator. Nothing is interpreted here: what an operator means stands in the room below, positions.
"""
