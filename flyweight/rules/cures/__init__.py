"""Cures that hold: each edit is carried out on a copy of the network, and the whole rule set judged again.

edit        what an edit is: words, and a function that changes a copy
surgery     changes of layers: stride, dilation, kernel, separable, put before or after, take away
operators   changes of what a forward pass calls without a layer: a maximum, a slice, a sum
widths      which layers' channels hang together, and making them narrower
windows     edits of one convolution: stride, dilation, padding, kernel
poolings    edits of poolings
reshape     edits that change the sizes of maps: strides, their removal, the ends of blocks
head        edits of the way from the last map to the output
layers      more layers of a sort, a larger or a smaller field
lighten     edits that make a network smaller: separable, narrower, shorter
exchange    layers exchanged for others that do as much
foresight   what the field would be, without running anything
search      tries the edits that a rule names, alone and after one another, and keeps those that hold

A kind of rule says in `edits` what it would try, the cheapest first; nothing is told that was not tried.
"""

from flyweight.rules.cures.edit import Edit, together

__all__ = ["Edit", "together"]
