"""The images: find CIFAR-10 (or download it), convert it once to memory-mapped arrays, split it.

places    which places are searched, in which order: `load`
sources   recognise, read and check CIFAR-10
parquet   one layout it comes in: that of the Hugging Face hub
batches   the other two: the official python and binary batches
digits    scikit-learn's digits, the offline stand-in
download  the hub, then verified mirrors
arrays    the cache: atomic, hashed, memory-mapped
dataset   what all of this returns, and splits of it
"""

from flyweight.data.cache import cache_folder
from flyweight.data.cifar10.find import NoDataError, load
from flyweight.data.dataset import Dataset, Progress, Split, hold_out, subset

__all__ = ["Dataset", "NoDataError", "Progress", "Split", "cache_folder", "hold_out", "load", "subset"]
