"""What a reader of data sets is: the record that each of them fills in."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flyweight.data.dataset import Dataset, Progress
from flyweight.data.listing import Listing
from flyweight.errors import DataError
from flyweight.images.spec import Spec
from flyweight.recipes.sections import DataConfig


class NoDataError(DataError):
    """A data set is in none of its places; nothing is damaged, and no place that the user named was passed over."""


class Read(Protocol):
    """How a reader is called."""

    def __call__(self, path: Path | None, *, cache: Path, progress: Progress, download: bool) -> Dataset:
        """Open the data set, its arrays in the cache.

        Args:
            path: what the user named, absolute, there, and recognised or chosen by name; none: the usual places.
            cache: the folder for arrays and downloads (`flyweight.data.cache.cached` writes them).
            progress: called as progress(what, done, total).
            download: whether the network may be used.

        Raises:
            NoDataError: it is in none of its places.
            DataError: it is damaged, or the cache cannot be written.
        """


class List(Protocol):
    """How a reader of files is called whose images are converted and split like those of all others."""

    def __call__(self, path: Path, config: DataConfig, progress: Progress) -> Listing:
        """List the images, without decoding any.

        Args:
            path: what the user named, absolute, there, and recognised or chosen by name.
            config: of the data.
            progress: called as progress(what, done, total).

        Raises:
            DataError: it holds no such data set, or is damaged.
        """


@dataclass(frozen=True)
class Reader:
    """One kind of data set. It has either `read` or `listing`.

    Attributes:
        name: what --data and a recipe's data.name call it.
        label: what people call it.
        help: one line that says what it is.
        read: opens a set whose images are always the same.
        listing: lists the images of a set of any images.
        layouts: what a path must hold, to stand after "name "; none: it takes no path.
        recognises: whether a path that exists holds it, judged by names of files alone.
        spec: its classes and images where they are always the same, so that rules can be judged before it is there.
        hub: its address on the Hugging Face hub, owner/name; none: it has none.
    """

    name: str
    label: str
    help: str
    read: Read | None = None
    listing: List | None = None
    layouts: str | None = None
    recognises: Callable[[Path], bool] = lambda path: False
    spec: Spec | None = None
    hub: str | None = None
