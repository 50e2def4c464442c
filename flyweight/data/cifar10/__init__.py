"""CIFAR-10 (Krizhevsky 2009): found on this machine or downloaded, in each of the layouts that it comes in.

find      where it is looked for, and in which order
formats   recognise, read and check it
parquet   one layout: that of the Hugging Face hub
official  the other two: the official python and binary batches
download  the hub, then verified mirrors
"""

from flyweight.images.spec import Preprocessing, Spec

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SPEC = Spec(
    CLASSES,
    channels=3,
    height=32,
    width=32,
    preprocessing=Preprocessing(
        (0.49139967861519607, 0.48215840839460783, 0.44653091444546567),
        (0.24703223246328201, 0.24348512800005553, 0.2615878417279645),
    ),
)
"""As it always is; mean and standard deviation are those of its 50,000 training images."""
