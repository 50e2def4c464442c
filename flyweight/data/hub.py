"""Data sets of the Hugging Face hub: their parquet files, at one revision, kept in the hub's own cache.

A revision is fixed by its commit before anything is read, and that goes into a run's recipe: a resumed run, and one
that is tested a year later, read the same files. Which files a commit has is kept in the cache beside the arrays, so
that a set that is on this machine needs no network.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from flyweight import files
from flyweight.data import online, parquet, shards
from flyweight.data.cache import MOST_MANIFEST, writing
from flyweight.data.dataset import Progress
from flyweight.data.listing import Listing
from flyweight.data.reader import Reader
from flyweight.data.shards import Shard
from flyweight.errors import DataError, FlyweightError
from flyweight.recipes.sections import DataConfig
from flyweight.text import short

NAME, FORM = "hub", "OWNER/NAME"
CONVERTED = "refs/convert/parquet"
"""The revision at which the hub keeps the parquet files that it makes of a set in other files."""


class Address(NamedTuple):
    """What is read.

    Attributes:
        repository: owner/name.
        folder: in it, of one of several sets; empty: it holds one.
        revision: a branch, a tag or a commit; none: the newest.
    """

    repository: str
    folder: str = ""
    revision: str | None = None

    def __str__(self) -> str:
        place = "/".join(part for part in (self.repository, self.folder) if part)
        return place if self.revision is None else f"{place}@{self.revision}"

    @property
    def pinned(self) -> bool:
        """Whether it is at a commit, which never changes."""
        return re.fullmatch("[0-9a-f]{40}", self.revision or "") is not None


def parse(text: str) -> Address:
    """Read an address: owner/name, owner/name/folder, each with @revision behind it or not.

    Raises:
        FlyweightError: it is something else.
    """
    found = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:/([^@]+?))?/?(?:@(\S+))?", text)
    if found is None:
        raise FlyweightError(
            f"{NAME}:{short(text, 80)}: write {NAME}:{FORM}, {NAME}:{FORM}/FOLDER for one of several sets, and"
            " @REVISION behind it for another than the newest"
        )
    return Address(found[1], found[2] or "", found[3])


def pin(text: str, cache: Path, download: bool = True) -> str:
    """The address with the commit that its revision is today; without network the last one that was read here.

    Raises:
        DataError: neither the hub nor this machine has it.
    """
    address = parse(text)
    return str(address if address.pinned else _pinned(address, cache, download))


def fetch(text: str, config: DataConfig, *, cache: Path, progress: Progress, download: bool) -> Listing:
    """List the images of a data set, after downloading the files that are not on this machine.

    Raises:
        DataError: it cannot be had, or its files hold no images.
    """
    address = parse(text)
    if not address.pinned:
        address = _pinned(address, cache, download)
    names = _kept(address, cache)
    if names is None:
        names = _download(address, cache, progress, download)
    found, notes = _arranged(names, address)
    folder = _path(address, found[0].name)
    for _ in found[0].name.split("/"):
        folder = folder.parent
    return parquet.listing_of(folder, found, Path(f"{NAME}:{address}"), config, progress, notes)


def _pinned(address: Address, cache: Path, download: bool) -> Address:
    why = "the network is not used"
    if download and not online.offline():
        try:
            online.answers(f"{online.hub_address()}/datasets/{address.repository}")
            commit, _ = _ask(address)
            _note_commit(address, commit, cache)
            return address._replace(revision=commit)
        except DataError:  # the hub has answered
            raise
        except Exception as error:
            why = f"the hub cannot be reached ({online.reason(error)})"
    elif online.offline():
        why = "HF_HUB_OFFLINE is set"
    for commit in reversed(_noted_commits(address, cache)):
        pinned = address._replace(revision=commit)
        if _kept(pinned, cache) is not None:
            return pinned
    if snapshot := _snapshot(address, cache):
        return address._replace(revision=snapshot.name)
    raise DataError(f"{NAME}:{address} is not on this machine, and {why}")


def _ask(address: Address) -> tuple[str, list[str]]:
    """Ask the hub for the commit of a revision and the names of its parquet files.

    Raises:
        DataError: what the hub says against it.
        Exception: it says nothing that can be understood.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    api = HfApi(endpoint=online.hub_address())

    def look(revision: str | None) -> tuple[str, list[str]]:
        info = api.dataset_info(address.repository, revision=revision, timeout=online.SILENCE_SECONDS)
        names = [file.rfilename for file in info.siblings or () if shards.wanted(file.rfilename)]
        return info.sha or "", [name for name in names if name.startswith(_full(address, ""))]

    where, page = f"{NAME}:{address}", f"{online.hub_address()}/datasets/{address.repository}"
    try:
        commit, names = look(address.revision)
    except GatedRepoError:
        raise DataError(f"{where} asks to accept its terms: do so on {page}, then run `hf auth login`") from None
    except RevisionNotFoundError:
        raise DataError(f"{where}: there is no revision {address.revision!r}; see {page}/tree/main") from None
    except RepositoryNotFoundError:
        raise DataError(f"{where}: the hub has no such data set, or it is private: run `hf auth login`") from None
    if not names and address.revision is None:
        with suppress(RevisionNotFoundError):
            commit, names = look(CONVERTED)
    if names:
        return commit, names
    if address.revision is not None:
        raise DataError(f"{where} has no parquet files at this revision; the hub makes some of the newest one alone")
    raise DataError(
        f"{where} has no parquet files, and the hub has made none: download it (`hf download --repo-type dataset"
        f" {address.repository} --local-dir FOLDER`) and name the folder"
    )


def _arranged(names: Sequence[str], address: Address) -> tuple[list[Shard], tuple[str, ...]]:
    """Which of the files are the set's, by their names below its folder."""
    below = [name[_skip(address) :] for name in names]
    return shards.arrange(below, f"{NAME}:{address._replace(revision=None)}")


def _skip(address: Address) -> int:
    """How many letters of a name in the repository are the folder of the set."""
    return len(address.folder) + 1 if address.folder else 0


def _download(address: Address, cache: Path, progress: Progress, download: bool) -> list[str]:
    """Bring the set's files to this machine; returns their names."""
    if download and not online.offline():
        from huggingface_hub import hf_hub_download

        try:
            _, names = _ask(address)
            found, _ = _arranged(names, address)
            wanted = sorted(_full(address, shard.name) for shard in found)
            # before the first file is there: what a cut download leaves must not be taken for a set. The files that are
            # left out are named too, so that they are told the next time
            _write(_file(address, cache), {"files": names, "downloaded": wanted}, cache)
            with online.kept_inside():
                for name in wanted:
                    hf_hub_download(
                        address.repository,
                        name,
                        repo_type="dataset",
                        revision=address.revision,
                        endpoint=online.hub_address(),
                        etag_timeout=online.SILENCE_SECONDS,
                        tqdm_class=online.bar(progress),
                    )
        except DataError:
            raise
        except Exception as error:  # the client's own errors, its HTTP library's, the system's
            raise DataError(f"{NAME}:{address} cannot be downloaded: {online.reason(error)}") from None
        return names
    # nothing is known of it here, but the hub's own client may have brought it
    if snapshot := _snapshot(address, cache):
        below = snapshot / address.folder if address.folder else snapshot
        return [_full(address, name) for name in shards.names(below)]
    raise DataError(f"{NAME}:{address} is not on this machine, and the network is not used")


def _full(address: Address, name: str) -> str:
    """The name in the repository of a file of the set."""
    return f"{address.folder}/{name}" if address.folder else name


def _kept(address: Address, cache: Path) -> list[str] | None:
    """Names of the files of a commit; none: not all of the set's are known to be on this machine."""
    try:
        content = json.loads(files.read_bytes(_file(address, cache), MOST_MANIFEST))
        names, downloaded = list(content["files"]), list(content["downloaded"])
        here = all(_path(address, name[_skip(address) :]).is_file() for name in downloaded)
        return names if here else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _path(address: Address, name: str) -> Path:
    """The place of a file of the set in the hub's cache, whether it is there or not."""
    from huggingface_hub import try_to_load_from_cache

    full = _full(address, name)
    found = try_to_load_from_cache(address.repository, full, revision=address.revision, repo_type="dataset")
    return Path(found) if isinstance(found, str) else Path("nowhere")


def _snapshot(address: Address, cache: Path) -> Path | None:
    """The folder of a revision that another program has downloaded by the hub's client, as far as that knows whole."""
    from huggingface_hub import snapshot_download

    revisions = [address.revision] if address.revision else [None, CONVERTED]
    for revision in revisions:
        pattern = f"{address.folder}/*" if address.folder else "*"
        try:
            folder = snapshot_download(
                address.repository,
                repo_type="dataset",
                revision=revision,
                allow_patterns=f"{pattern}.parquet",
                local_files_only=True,
            )
        except Exception:  # it is not there, or not whole
            continue
        below = Path(folder) / address.folder if address.folder else Path(folder)
        ours = _file(address._replace(revision=Path(folder).name), cache).exists()
        if not ours and next(shards.names(below), None) is not None:
            return Path(folder)
    return None


def _file(address: Address, cache: Path) -> Path:
    """Where is kept what is known of a commit, or which commits a revision was."""
    return cache / "hub" / f"{hashlib.sha256(str(address).encode()).hexdigest()[:16]}.json"


def _noted_commits(address: Address, cache: Path) -> list[str]:
    try:
        return [str(commit) for commit in json.loads(files.read_bytes(_file(address, cache), MOST_MANIFEST))["commits"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def _note_commit(address: Address, commit: str, cache: Path) -> None:
    earlier = [other for other in _noted_commits(address, cache) if other != commit]
    _write(_file(address, cache), {"commits": [*earlier, commit]}, cache)


def _write(file: Path, content: dict[str, list[str]], cache: Path) -> None:
    with writing(cache):
        file.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(file, json.dumps(content))


READER = Reader(
    name=NAME,
    label="a data set of the Hugging Face hub",
    help="the parquet files of a data set of the Hugging Face hub, at one revision",
    address=FORM,
    fetch=fetch,
    pin=pin,
)
