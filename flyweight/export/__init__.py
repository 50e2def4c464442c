"""A trained network as files that other programs open.

`formats` is the table: each format is a module here with one function, `write(subject, folder)`. `subject` is what all
of them share: the network, its test images, what PyTorch says of those, and the network as an ONNX graph, made once.
`graph` makes that graph, `around` puts normalisation before it and probabilities behind it, `session` runs it.
`choices` is what formats in 8 bits choose by. Nothing is written that `gate` has not held against PyTorch on all test
images; `write` lets the folder appear whole.
"""
