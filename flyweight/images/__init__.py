"""Images as arrays: (N, H, W, C) uint8 of any size and number of channels, from the file to the network's input.

spec        what all images of a data set have in common: classes, channels, height, width, preprocessing
decode      an image file to such an array, in the size that a network takes
finding     image files in folders
sizing      to that size, and where on the image what the network takes lies
augment     the brief's three augmentations; the only module that knows albumentations
levels      the numbers of an image of any kind as 8 bits
damage      images made worse, to measure how much of the accuracy is left
preprocess  pixels to the numbers that a network takes
"""
