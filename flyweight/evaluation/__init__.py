"""How good a trained network is: `evaluate` asks it about a split, writes files and text; `scores` is the arithmetic.

`robustness` is the same on damaged images, `explain` where in an image the network looked.
"""
