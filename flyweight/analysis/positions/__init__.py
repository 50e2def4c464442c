"""Where the image's positions are in each tensor, and which of them each operator reads.

:mod:`axes` says which dimensions of a tensor are height and width, :mod:`reads` which positions of an input one
position of an output reads along one axis. One function a family of operators, in :mod:`computing` and :mod:`moving`,
makes both from an operator's arguments; :mod:`operators` is the table of all operators and walks forwards through a
trace with it. The result is a :class:`~.graph.Graph`, and :mod:`field` walks it backwards: the receptive field.

A new operator is one row of the table.
"""
