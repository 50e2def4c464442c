"""The offline stand-in: scikit-learn's 1,797 handwritten digits, made to look like CIFAR-10 to a network."""

from pathlib import Path

import numpy as np

from flyweight.data.cache import FORMAT, cached
from flyweight.data.dataset import Dataset, Progress, Split, assemble, stratified
from flyweight.data.reader import Reader
from flyweight.images.spec import Preprocessing, Spec

CLASSES = tuple("0123456789")
TEST_IMAGES = 360


def read(path: Path | None = None, *, cache: Path, progress: Progress, download: bool = False) -> Dataset:
    """Open them; they need neither files nor network, so that `path` and `download` mean nothing."""
    return cached(cache, f"digits-{FORMAT}", make, progress)


def make() -> Dataset:
    """Build the digits: 1,437 training and 360 test images of 32x32x3, a fixed stratified split. No network.

    The 8x8 images of 0..16 are scaled to 0..255, enlarged four times with bicubic interpolation, and repeated in the
    three channels.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = np.round(digits.images * (255 / 16)).astype(np.uint8)
    grey = [np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC)) for image in small]
    images, labels = np.repeat(np.stack(grey)[..., None], 3, axis=-1), digits.target.astype(np.int64)
    test = stratified(labels, TEST_IMAGES)
    train = np.setdiff1d(np.arange(len(labels)), test, assume_unique=True)
    return assemble(
        "digits",
        Split(images[train], labels[train]),
        Split(images[test], labels[test]),
        CLASSES,
        "scikit-learn's handwritten digits, enlarged from 8x8",
    )


SPEC = Spec(
    CLASSES,
    channels=3,
    height=32,
    width=32,
    preprocessing=Preprocessing((0.3097753124061907,) * 3, (0.3492661068048134,) * 3),
)
"""As they always are; mean and standard deviation are those of the training images."""

READER = Reader(
    name="digits",
    label="scikit-learn's digits",
    help="scikit-learn's handwritten digits, which need no network",
    read=read,
    spec=SPEC,
)
