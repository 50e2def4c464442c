"""Folders as people have them: the right answer or one clear line, and nothing of the user's touched."""

import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from cifar10_sets import silent
from nasty import CASES, Case, Line, Right, may_read_everything

from flyweight import data
from flyweight.cli import app
from flyweight.cli.console import MOST
from flyweight.data import folder
from flyweight.data.listing import HIDDEN
from flyweight.errors import FlyweightError
from flyweight.text import middle, printable

pytestmark = [
    pytest.mark.usefixtures("own_places"),
    pytest.mark.skipif(os.name != "posix", reason="these names and links are not for this system"),
]


# folders whose names are odd, for `flyweight data`: all of them would take half a minute
LOOKED_THROUGH = {
    "classes_that_a_page_would_run",
    "classes_that_a_terminal_would_obey",
    "classes_with_ends_of_lines",
    "classes_of_odd_letters",
    "a_class_that_is_no_utf_8",
    "file_names_that_are_no_utf_8",
    "a_place_that_is_no_utf_8",
    "what_systems_leave_behind",
    "files_that_were_cut_off",
}


def test_there_are_sixty_of_them() -> None:
    names = {case.name for case in CASES}
    assert len(names) == len(CASES) >= 60
    assert names >= LOOKED_THROUGH


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_folder_as_people_have_it(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not case.for_root and may_read_everything(tmp_path):
        pytest.skip("root may read everything")
    root = tmp_path / "set"
    root.mkdir()
    place = case.make(root) or root
    before = tree(root)
    try:
        if isinstance(case.answer, Line):
            refuses(place, case.answer, tmp_path, capsys)
        else:
            answers(place, case.answer, tmp_path / "cache")
            if case.name in LOOKED_THROUGH:
                is_looked_through(place, case.answer, tmp_path, capsys)
        assert tree(root) == before
    finally:
        for inside in (root, *(path for path in root.rglob("*") if path.is_dir() and not path.is_symlink())):
            inside.chmod(0o755)


def refuses(place: Path, answer: Line, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FlyweightError, match=answer.pattern) as caught:
        data.load(path=place, cache=tmp_path / "cache", progress=silent)
    line = str(caught.value)
    assert (caught.value.exit_code, line) == (answer.code, printable(line))
    if "\\n" not in repr(str(place)):  # a terminal's own lines
        assert app.run_command(["train", "--data", str(place), "--out", str(tmp_path / "run")]) == answer.code
        out, err = capsys.readouterr()
        assert (out, "Traceback" in err) == ("", False)
        # of a long path the middle is left out
        assert err.splitlines()[-1] == middle(f"flyweight: {line}", MOST)
    assert not (tmp_path / "run").exists()


def answers(place: Path, answer: Right, cache: Path) -> None:
    dataset = data.load(path=place, cache=cache, progress=silent)
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    splits = {name: part for name, part in parts.items() if part is not None}
    names = [name for part in splits.values() for name in part.names or ()]
    labels = np.concatenate([part.labels for part in splits.values()])
    counted = {label: int((labels == place).sum()) for place, label in enumerate(dataset.classes)}
    assert list(counted) == sorted(answer.images)
    assert counted == answer.images
    assert dataset.spec.channels == answer.channels
    if answer.splits is not None:
        sizes = (dataset.train, dataset.validation, dataset.test)
        given = dict(zip(parts, answer.splits, strict=True))
        # what the set does not bring is taken of the training images
        for name, part in zip(parts, sizes, strict=True):
            if name != "train" and given[name]:
                assert part is not None
                assert len(part) == given[name]
        assert sum(map(len, splits.values())) == sum(answer.splits)
    nothing_is_passed_over(place, dataset, names, answer.skipped)
    for pattern in answer.told:
        told = (*dataset.notes, *dataset.remarks)
        assert any(re.search(pattern, sentence) for sentence in told), (pattern, told)
    equal_images_are_on_one_side(dataset, answer)
    can_be_told(dataset, names)
    again = data.load(path=place, cache=cache, progress=silent)
    assert (again.fingerprint, again.notes, again.remarks) == (dataset.fingerprint, dataset.notes, dataset.remarks)


def nothing_is_passed_over(place: Path, dataset: data.Dataset, names: list[str], expected: dict[str, str]) -> None:
    """Each file is an image of the set, or left out with the reason that was expected."""
    assert len(set(names)) == len(names)
    assert dataset.origin is not None
    found = dict(dataset.origin.left_out)
    for name, reason in expected.items():
        assert found.pop(name).startswith(reason), name
    assert not {name: reason for name, reason in found.items() if reason != HIDDEN}
    seen = {*names, *expected, *found}
    hidden_or_left = tuple(f"{name.rstrip('/')}/" for name in (*expected, *found))
    for path in tree(place):
        name = folder._name(path)
        alone = name in seen or name.startswith(hidden_or_left) or (place / path).is_dir()
        assert alone, f"{path!r} was passed over without a word"


def equal_images_are_on_one_side(dataset: data.Dataset, answer: Right) -> None:
    if answer.splits is None:
        sides = [dataset.train, dataset.test, *([dataset.validation] if dataset.validation else [])]
        contents = [{image.tobytes() for image in np.asarray(part.images)} for part in sides]
        assert len(set.union(*contents)) == sum(map(len, contents))


def can_be_told(dataset: data.Dataset, names: list[str]) -> None:
    """Names are text that can be written; what people read is one line that no terminal obeys."""
    lines = (*dataset.notes, *dataset.remarks, dataset.name, dataset.source)
    texts = (*dataset.classes, *names, *lines)
    assert json.loads(json.dumps(texts, ensure_ascii=False).encode("utf-8")) == list(texts)
    for text in lines:
        assert text == printable(text)


def is_looked_through(place: Path, answer: Right, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`flyweight data` lists all that was left out, and its lines are lines."""
    assert app.run_command(["data", str(place)]) == 0
    out, _ = capsys.readouterr()
    for line in out.split("\n"):
        assert line == printable(line)
    page = tmp_path / "scan.html"
    assert app.run_command(["data", str(place), "--json", "--page", str(page)]) == 0
    out, _ = capsys.readouterr()
    told = out.encode("utf-8").decode("utf-8")
    assert {one["name"] for one in json.loads(told)["left_out"]} >= set(answer.skipped)
    text = page.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "\x1b" not in text


def tree(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything below a folder by its path: rights, size, time, content or where it links to; links not followed."""
    found = {}
    for where, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(where) / name
            status = path.lstat()
            content = path.readlink() if path.is_symlink() else _content(path)
            found[str(path.relative_to(root))] = (status.st_mode, status.st_size, status.st_mtime_ns, content)
    return found


def _content(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    except PermissionError:
        return None
