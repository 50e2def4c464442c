"""An export on the Hugging Face hub: a repository, and the whole folder in it by one commit."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from flyweight.data import online
from flyweight.errors import FlyweightError
from flyweight.text import short

if TYPE_CHECKING:
    from huggingface_hub import HfApi

FORM = "OWNER/NAME"
LOGIN = "run `hf auth login`, or set HF_TOKEN, with a token that may write"


def ready_or_raise(repository: str, force: bool) -> None:
    """Go on only where a push can be expected to work: an export takes minutes.

    Args:
        repository: owner/name.
        force: whether a repository that is there already gets another commit.

    Raises:
        FlyweightError: it is no name, nobody is logged in, the hub cannot be reached, or the repository is there.
    """
    from huggingface_hub import get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError:
        owner = ""
    else:
        owner = repository.rpartition("/")[0]
    if not owner:
        raise FlyweightError(
            f"--push {short(repository, 80)}: write {FORM}, letters, digits, '-', '_' and '.', at most 96 in all"
        )
    if online.offline():
        raise FlyweightError(f"--push {repository}: HF_HUB_OFFLINE is set; unset it")
    if get_token() is None:
        raise FlyweightError(f"--push {repository}: nobody is logged in to the Hugging Face hub: {LOGIN}")
    api = _api()
    try:
        online.answers(f"{online.hub_address()}/api/models/{repository}")
        role = api.whoami().get("auth", {}).get("accessToken", {}).get("role")
        there = api.repo_exists(repository)
    except Exception as error:  # the client's own errors, its HTTP library's, the system's
        raise _told(repository, error, "cannot be reached") from None
    if role == "read":
        raise FlyweightError(f"--push {repository}: the hub's token may only read: {LOGIN}")
    if there and not force:
        raise FlyweightError(
            f"--push {repository}: it is there already, at {_address(repository)}: --force adds a commit to it"
        )


def push(repository: str, folder: Path, public: bool) -> str:
    """Create a repository, unless it is there, and put all files of an export into it by one commit.

    Files of the repository that the export does not have are left as they are, and so is who may see it.

    Args:
        repository: owner/name.
        folder: of the export.
        public: whether a new repository is seen by everybody.

    Returns:
        its address.

    Raises:
        FlyweightError: the hub says no, or nothing; the export on this machine stays.
    """
    api = _api()
    try:
        api.create_repo(repository, private=not public, exist_ok=True)
        with warnings.catch_warnings():
            # what the hub would rather have in the metadata is shown on its page as well
            warnings.simplefilter("ignore")
            api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Export by flyweight")
    except Exception as error:  # as above
        why = _told(repository, error, "did not take it")
        raise FlyweightError(f"{why}; the export is there: try again by `hf upload {repository} {folder}`") from None
    return _address(repository)


def _api() -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(endpoint=online.hub_address(), library_name="flyweight")


def _address(repository: str) -> str:
    return f"{online.hub_address()}/{repository}"


def _told(repository: str, error: Exception, otherwise: str) -> FlyweightError:
    """What the hub says against it, or that it says nothing."""
    from huggingface_hub.errors import HfHubHTTPError

    where = f"--push {repository}"
    # what is raised while a file goes up is wrapped
    while error.__cause__ is not None and not isinstance(error, HfHubHTTPError):
        error = error.__cause__  # type: ignore[assignment]
    if not isinstance(error, HfHubHTTPError):
        return FlyweightError(f"{where}: the hub at {online.hub_address()} {otherwise}: {online.reason(error)}")
    status = error.response.status_code
    if status == 401:
        return FlyweightError(f"{where}: the hub does not know the token: {LOGIN}")
    if status == 403:
        owner = repository.partition("/")[0]
        return FlyweightError(f"{where}: the hub's token may not write to {owner}: {LOGIN}")
    return FlyweightError(f"{where}: the hub says no ({status}): {short(error.server_message or str(error), 200)}")
