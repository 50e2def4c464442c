"""How good a trained network is: `evaluate` asks it about a split, writes files and text; `scores` is the arithmetic.

`robustness` is the same on damaged images, `explain` where in an image the network looked, `overlay` that as an image,
`unknown` whether it notices images of none of its classes.
"""
