"""Networks: from rows of a table, or a class of the user's own, to a module.

layers   what a row may be: the table of kinds, and the layers with plain arguments
phases   which part of a dilated map a training step computes
builtin  the networks that come with the package, as rows
custom   classes of the user's own
build    the one builder: (a recipe's network, the data's spec) -> module
modes    eval mode, borrowed and given back
"""
