"""What the graph says about a network, one kind of finding a module; each is a query and changes nothing.

:mod:`layers` are the rows of the summary, :mod:`convolutions` what ran of them, :mod:`dead` their
taps that see only padding, :mod:`pooling` what drops pixels, :mod:`averages` what averages them, :mod:`head` the way
from the last map to the output, :mod:`memory` the maps that are held at once, :mod:`structure` what leads nowhere or is
not understood, :mod:`weights` whose parameters an operator reads.
"""
