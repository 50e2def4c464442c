"""The images: found or downloaded, converted once to memory-mapped arrays, split.

A reader turns what is on a disk or in the network into a `Dataset` of uint8 arrays; the cache keeps these arrays; all
that comes after sees the `Dataset` and its `spec` alone. A new reader is one file and one entry in `registry`.

registry  the table of readers; `load`
reader    what a reader is
cifar10/  CIFAR-10: places, layouts, download
parquet   parquet files in the hub's layout; columns, shards and labels belong to it
npz       arrays in one file
hub       a data set of the Hugging Face hub, at one revision
digits    scikit-learn's digits, the offline stand-in
cache     the arrays: written at one stroke, hashed, memory-mapped
dataset   what all of this returns, and splits of it
scan      what is in it: sizes, balance, left-out files, copies; `findings` tells it in words
"""

from flyweight.data.cache import cache_folder
from flyweight.data.dataset import Dataset, Progress, Split, hold_out, subset
from flyweight.data.reader import NoDataError
from flyweight.data.registry import load

__all__ = ["Dataset", "NoDataError", "Progress", "Split", "cache_folder", "hold_out", "load", "subset"]
