"""Networks: from rows of a table, or a class of the user's own, to a module.

layers   what a row may be: the table of kinds, and the layers with plain arguments
         convolutions  without bias, and how a training computes them in less time
phases   which part of a dilated map a training step computes
builtin  the networks that come with the package, as rows
custom   networks of the user's own, and whose error it is (`blame`)
         reference  how one is written down: file.py:Net(width=8)
         sources    of a file, a notebook (`notebooks`) or a module, what it needs is run (`needed`), and nothing else
         standins   for modules that a file imports, that are not here and that its network does not need
code     the files that a user's network is written in, as bytes, and a copy of them that is run
allowed  which code this user lets run
build    the one builder: (a recipe's network, the data's spec) -> module
modes    eval mode, borrowed and given back
"""
