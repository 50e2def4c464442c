"""Cures that hold: each edit is carried out on a copy of the network, and the whole rule set judged again.

edit        what an edit is: words, and a function that changes a copy
surgery     changes of layers: stride, dilation, kernel, separable, put before or after, take away
operators   changes of what a forward pass calls without a layer: a maximum, a slice, a sum
widths      which layers' channels hang together, and making them narrower
reshape     edits that change what the convolutions look at: strides, dilations, kernels, poolings, the head
lighten     edits that make a network smaller: separable, narrower
search      tries the edits that a rule names, alone and after one another, and keeps those that hold

A kind of rule says in `edits` what it would try, the cheapest first; nothing is told that was not tried.
"""

from flyweight.rules.cures.edit import Edit, together

__all__ = ["Edit", "together"]
