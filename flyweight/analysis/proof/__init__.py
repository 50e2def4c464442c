"""An independent proof of the receptive field, on the network itself.

:mod:`prove` decides which pixels to poison and what must follow from the formula's claim; :mod:`probe` runs the network
on them and sees where NaN arrives. Of the rooms above only the way to the watched tensor is used, none of the
arithmetic.
"""
