"""What is asked of the network, and of the Hugging Face hub, in the same way by all readers."""

import io
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flyweight.data.dataset import Progress
from flyweight.errors import DataError
from flyweight.text import one_line, short

SILENCE_SECONDS = 8.0  # a host that says nothing for so long is given up: a machine without network must hear so soon


def offline() -> bool:
    """Whether the user has forbidden the network with HF_HUB_OFFLINE."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def hub_address() -> str:
    """Where the hub is: HF_ENDPOINT, else huggingface.co."""
    from huggingface_hub import constants

    return constants.ENDPOINT


def answers(url: str) -> None:
    """Raise OSError unless a server is there that is well; the hub's own client tries for 23 s to reach none."""
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "flyweight"})
    try:
        urllib.request.urlopen(request, timeout=SILENCE_SECONDS).close()
    except urllib.error.HTTPError as error:
        error.close()
        if error.code >= 500:
            raise


@contextmanager
def kept_inside() -> Iterator[None]:
    """While the hub's client downloads: it names files of its cache by what a server answers, whatever that is.

    Raises:
        DataError: an answer names a file somewhere else.
    """
    from huggingface_hub import file_download

    asked = file_download.get_hf_file_metadata

    def checked(*arguments: Any, **options: Any) -> Any:
        found = asked(*arguments, **options)
        for name in (found.etag, found.commit_hash):
            if name is not None and not re.fullmatch(r"\w[\w.:+=-]{0,199}", name):
                raise DataError(f"the server answers with {short(repr(name), 80)}, which names no file: it is no hub")
        return found

    file_download.get_hf_file_metadata = checked
    try:
        yield
    finally:
        file_download.get_hf_file_metadata = asked


def bar(progress: Progress) -> Any:
    """Make a tqdm class that draws nothing and hands the hub's progress on."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    class Bar(tqdm):
        monitor_interval = 0

        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*args, **{**options, "disable": False, "file": io.StringIO()})

        def update(self, n: float | None = 1) -> bool | None:
            drawn = super().update(n)
            if "downloading bytes" not in (self.desc or ""):  # of two bars a file the one that has a total
                progress("downloading from the Hugging Face hub", int(self.n), int(self.total) if self.total else None)
            return drawn

    return Bar


def reason(error: BaseException) -> str:
    """A few words: the innermost cause where there is one, for the outer ones only wrap it."""
    while True:
        inner = error.reason if isinstance(error, urllib.error.URLError) else None
        if not isinstance(inner, BaseException):
            break
        error = inner
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return one_line(error)
