"""The images: found or downloaded, converted once to memory-mapped arrays, split.

A reader of a set that is always the same gives a `Dataset` of arrays. A reader of any images gives a `Listing`: the
names, classes and splits, and how to get at each image. `convert` decodes what is listed once, in processes of its own,
into one array and a catalogue in the cache, and remembers by the files' sizes and times what became of them; `listed`
makes a `Dataset` of that, whose images are addressed one by one. All that comes after sees the `Dataset` and its `spec`
alone. A new reader is one file and one entry in `registry`.

registry   the table of readers; `load`
reader     what a reader is; `listing` what one of any images gives
cifar10/   CIFAR-10: places, layouts, download
digits     scikit-learn's digits, the offline stand-in
folder     image files in folders
parquet    parquet files in the hub's layout; `columns`, `shards` and `labels` belong to it
npz        arrays in one file
hub        a data set of the Hugging Face hub, at one revision; `online` is shared with CIFAR-10's download
convert    from a listing to an array: `target` chooses the size, `workers` are the processes, `decoding` what they do
catalogue  what is known of each image; `stored` is how they are addressed
listed     from there to a `Dataset`; `splits` are what is set aside
cache      the arrays: written at one stroke, hashed, memory-mapped
dataset    what all of this returns, and parts of it
scan       what is in it: sizes, balance, left-out files; `copies`, by `hashes` and `duplicates`; `findings` in words
"""

from flyweight.data.cache import cache_folder
from flyweight.data.dataset import Dataset, Progress, Split, hold_out, stratified_part, subset
from flyweight.data.reader import NoDataError
from flyweight.data.registry import load

__all__ = [
    "Dataset",
    "NoDataError",
    "Progress",
    "Split",
    "cache_folder",
    "hold_out",
    "load",
    "stratified_part",
    "subset",
]
