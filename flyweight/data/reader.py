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


class Fetch(Protocol):
    """How a reader is called whose sets lie elsewhere, each under an address."""

    def __call__(self, text: str, config: DataConfig, *, cache: Path, progress: Progress, download: bool) -> Listing:
        """Bring the set to this machine and list its images, without decoding any.

        Args:
            text: the address: what stands after the reader's name and a colon.
            config: of the data.
            cache: the folder for arrays and downloads.
            progress: called as progress(what, done, total).
            download: whether the network may be used.

        Raises:
            DataError: it cannot be had, or is damaged.
            FlyweightError: the text is no address.
        """


class Pin(Protocol):
    """How such a reader is asked for an address that means the same for ever."""

    def __call__(self, text: str, cache: Path, download: bool = True) -> str:
        """Add to an address the revision that it means now.

        Raises:
            DataError: that cannot be found out.
            FlyweightError: the text is no address.
        """


@dataclass(frozen=True)
class Reader:
    """One kind of data set. It has one of `read`, `listing` and `fetch`.

    Attributes:
        name: what --data and a recipe's data.name call it.
        label: what people call it.
        help: one line that says what it is.
        read: opens a set whose images are always the same.
        listing: lists the images of a set of any images.
        fetch: lists the images of a set that lies elsewhere.
        pin: adds to an address of such a set the revision that it means now.
        address: what an address looks like, to stand after "name:"; none: it takes none.
        layouts: what a path must hold, to stand after "name "; none: it takes no path.
        recognises: whether a path that exists holds it, judged by names of files and at most by what they say of
            themselves: a damaged set is recognised all the same.
        spec: its classes and images where they are always the same, so that rules can be judged before it is there.
        hub: its address on the Hugging Face hub, owner/name; none: it has none.
    """

    name: str
    label: str
    help: str
    read: Read | None = None
    listing: List | None = None
    fetch: Fetch | None = None
    pin: Pin | None = None
    address: str | None = None
    layouts: str | None = None
    recognises: Callable[[Path], bool] = lambda path: False
    spec: Spec | None = None
    hub: str | None = None

    @property
    def called(self) -> str:
        """What --data calls it, with the form of its address where it takes one."""
        return self.name if self.address is None else f"{self.name}:{self.address}"
