"""Hostile images and folders: each is decoded rightly or refused in one line, in little memory and in time.

Right is what a person sees, worked out from the content before it was written: `right_images`. A network says of such a
file what it says of a PNG of the same content that was written by hand. A damaged file is refused, or its answer is the
whole one's where all that was taken is what nobody looks at; of flipped bits nobody knows the right answer.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import damaged_images
import handmade
import nasty
import numpy as np
import pytest
import right_images
from conftest import a_socket
from ledger import WHERE, Ledger, Part

from flyweight.cli.console import MOST
from flyweight.images.decode import SUFFIXES
from flyweight.text import printable

pytestmark = [
    pytest.mark.usefixtures("own_places"),
    pytest.mark.skipif(os.name != "posix", reason="these names and links are not for this system"),
    pytest.mark.timeout(3600 if WHERE in os.environ else 900),  # a busy machine takes its time
]

SEED = 16
MEMORY = 1024
"""MiB that a process which asks a network may take at most, PyTorch included."""
SECONDS = 100
"""That an image or a folder may take, on however busy a machine; on a quiet one the slowest takes a few."""
CHUNKS = 20 if WHERE in os.environ else 1
RIGHT, DAMAGED = 520, 320
# so near are the probabilities where a pixel is off by a level, and where the format has lost more
NEAR, LOSSY = 0.1, 0.5


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_hostile_images(ledger: Ledger, tmp_path: Path, chunk: int) -> None:
    cases = [
        *_right(tmp_path, ledger.count(RIGHT // CHUNKS, len(right_images.KINDS)), chunk),
        *_damaged(tmp_path, ledger.count(DAMAGED // CHUNKS, 2 * len(damaged_images.DAMAGES)), chunk),
        *_bombs(tmp_path, list(damaged_images.BOMBS)[chunk::CHUNKS][: ledger.count(99, 2)]),
        *_folders(tmp_path, chunk),
    ]
    try:
        found = list(_asked(tmp_path, cases))
        broken = [(case, sentence) for case, one in zip(cases, found, strict=True) for sentence in _broken(case, one)]
    finally:
        # Python cannot take away what lies deeper than a path can say, and pytest would try
        subprocess.run(["rm", "-rf", "--", tmp_path / "folders"], check=True)
    refused = [one.get("error") is not None for one in found]
    parts = []
    for name in dict.fromkeys(case["part"] for case in cases):
        mine = [place for place, case in enumerate(cases) if case["part"] == name]
        figures = {
            "refused": sum(refused[place] for place in mine), "MiB_most": max(found[place]["peak"] for place in mine),
            "seconds_most": max(found[place]["seconds"] for place in mine),
        }  # fmt: skip
        against = [f"{case['name']}: {what}" for case, what in broken if case["part"] == name]
        parts.append(Part(name, len(mine), against, figures))
    ledger.record_all("hostile-images", parts)


# what is asked about


def _right(folder: Path, count: int, chunk: int) -> Iterator[dict[str, Any]]:
    for number in range(chunk * count, (chunk + 1) * count):
        name, content = right_images.drawn(random.Random(f"{SEED} right {number}"), number)
        image, seen, clean = (folder / "images" / name, folder / f"{name}.npy", folder / f"{name}.clean.png")
        nasty.put(image, content.raw)
        np.save(seen, content.seen)
        clean.write_bytes(handmade.png(content.seen, 8, handmade.RGB))
        yield {
            "part": "images whose content is known", "name": name, "image": str(image), "seen": str(seen),
            "clean": str(clean), "most_off": content.off, "most_mean": content.mean, "refusable": content.refusable,
        }  # fmt: skip


def _damaged(folder: Path, count: int, chunk: int) -> Iterator[dict[str, Any]]:
    for number in range(chunk * count, (chunk + 1) * count):
        name, raw, whole = damaged_images.drawn(random.Random(f"{SEED} damaged {number}"), number)
        image, clean = folder / "images" / name, folder / f"{name}.whole"
        nasty.put(image, raw)
        clean.write_bytes(whole)
        cut = {"clean": str(clean), "cut": True} if "-cut_off-" in name else {}
        yield {"part": "damaged images", "name": name, "image": str(image), **cut}


def _bombs(folder: Path, names: list[str]) -> Iterator[dict[str, Any]]:
    for name in names:
        nasty.put(folder / "images" / name, damaged_images.BOMBS[name]())
        yield {"part": "images that would fill the memory", "name": name, "image": str(folder / "images" / name)}


def _folders(folder: Path, chunk: int) -> Iterator[dict[str, Any]]:
    """Those of `nasty`, and others; all images of this chunk are one more."""
    made = [*FOLDERS_OF_OURS, *(case for case in nasty.CASES if case.name not in SLOW)]
    chosen = made[chunk::CHUNKS] if CHUNKS > 1 else made[:3]
    for number, case in enumerate(chosen):
        place = folder / "folders" / str(number)
        place.mkdir(parents=True)
        asked = case(place) if not isinstance(case, nasty.Case) else case.make(place)
        name = case.__name__ if not isinstance(case, nasty.Case) else case.name
        yield _folder(name, asked or place, "predict", "nano", "--json")
        if isinstance(case, nasty.Case):
            yield _folder(name, asked or place, "data", "--json")
    yield _folder("all of these images", folder / "images", "predict", "nano", "--json")


SLOW = {"two_thousand_classes"}


def _folder(name: str, place: Path, *call: str) -> dict[str, Any]:
    return {"part": f"folders, by {call[0]}", "name": name, "places": [str(place)], "call": list(call)}


def no_regular_files(place: Path) -> None:
    nasty.put(place / "a.png", nasty.raw(1))
    os.mkfifo(place / "pipe.png")
    a_socket(place / "socket.png")
    for name, target in (("zero.png", "/dev/zero"), ("terminal.png", "/dev/tty"), ("gone.png", "nowhere")):
        (place / name).symlink_to(target)
    (place / "folder.png").mkdir()


def names_of_all_kinds(place: Path) -> None:
    names = ("\n", "\r\n\t", "\x1b[2J\x1b]0;title\a", "\x7f\x9b31m", "-rf", "--json", "\N{RIGHT-TO-LEFT OVERRIDE}gnp")
    for seed, name in enumerate((*names, " ", "'\"`$(id)", "\\", "%s%n{0}", "x" * 250, "é" * 125)):
        nasty.put(place / f"{name}.png", nasty.raw(seed) if seed % 2 else b"no image")
    for name in (b"\xff\xfe.png", b"\xed\xa0\x80.png"):
        nasty.put(place / os.fsdecode(name), nasty.raw(3))


def loops_of_links(place: Path) -> None:
    nasty.put(place / "a.png", nasty.raw(1))
    (place / "self.png").symlink_to("self.png")
    (place / "up").symlink_to("..")
    (place / "b").symlink_to("c")
    (place / "c").symlink_to("b")


def deeper_than_a_path_can_be_long(place: Path) -> None:
    """1,500 folders in one another: no path of the system's leads to the end."""
    nasty.put(place / "a.png", nasty.raw(1))
    here = os.open(place, os.O_RDONLY)
    for depth in range(1500):
        os.mkdir("deep.png", dir_fd=here)
        inner = os.open("deep.png", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
        if depth == 40:
            os.close(os.open("b.png", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


def images_that_may_not_be_read(place: Path) -> None:
    nasty.put(place / "a.png", nasty.raw(1))
    nasty.put(place / "locked.png", nasty.raw(2))
    (place / "locked.png").chmod(0)


def thousands_of_files(place: Path) -> None:
    for number in range(3000):
        (place / f"{number}.png").write_bytes(nasty.raw(number % 20) if number % 3 else b"")


FOLDERS_OF_OURS = [
    no_regular_files, names_of_all_kinds, loops_of_links, deeper_than_a_path_can_be_long, images_that_may_not_be_read,
    thousands_of_files,
]  # fmt: skip


# what came out


def _asked(folder: Path, cases: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What the child tells of each case; one that it does not survive is a fault, and another child goes on."""
    listed = folder / "cases.json"
    listed.write_text(json.dumps(cases))
    child = Path(__file__).with_name("decoding_child.py")
    told = 0
    while told < len(cases):
        call = [sys.executable, str(child), str(listed), str(told), str(SECONDS)]
        done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=folder)
        for line in done.stdout.splitlines():
            told += 1
            found = json.loads(line)
            # libraries write past Python, nobody knows of which image
            yield found | {"aside": done.stderr[:300]} if told == len(cases) else found
        if told < len(cases):
            told += 1
            last = " ".join(done.stderr.split())[-600:]
            yield {"fault": f"the process ended with {done.returncode}: {last}", "seconds": SECONDS, "peak": 0}


def _broken(case: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    """What went against the promise, a sentence each."""
    if found["peak"] > MEMORY:
        yield f"{found['peak']:.0f} MiB of memory"
    if found.get("aside"):
        yield f"written to standard error by no one: {found['aside']}"
    if "fault" in found:
        yield found["fault"]
    elif "code" in found:
        yield from _broken_call(case, found)
    elif found["error"] is not None:
        line = found["error"]
        if not 4 < len(line) <= MOST or line != printable(line):
            yield f"told in no line for people: {line!r}"
        if "most_off" in case and not case["refusable"]:
            yield f"refused: {line}"
    else:
        if abs(found["total"] - 1) > 1e-6:
            yield f"probabilities of {found['total']} in all"
        if case.get("cut") and found.get("differs"):
            yield "cut off, and neither refused nor what the whole file is"
        if "most_off" in case:
            yield from _broken_answer(case, found)


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is none")


def _broken_answer(case: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    if found["off"] > case["most_off"] or found["mean"] > case["most_mean"]:
        yield f"pixels are off by up to {found['off']:.0f}, on average by {found['mean']:.1f}"
    near = 1e-6 if not case["most_off"] else NEAR if case["most_off"] == 1 else LOSSY
    if found["apart"] > near:
        yield f"probabilities are {found['apart']:.3f} away from those of a PNG of the same content"


def _broken_call(case: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    out, err = found["out"], found["err"]
    if found["code"] not in (0, 3):
        yield f"exit code {found['code']}: {err[-300:]}"
    if "Traceback" in out + err:
        yield f"a traceback: {err[-300:]}"
    for line in err.split("\n"):
        if len(line) > MOST or line != printable(line):
            yield f"told in no line for people: {line[:600]!r}"
    try:
        answer = json.loads(out, parse_constant=_no_number) if out else []
    except ValueError as error:
        yield f"no JSON: {error}"
        return
    if case["call"][0] == "predict":
        inside = [Path(where, name) for place in case["places"] for where, _, names in os.walk(place) for name in names]
        images = [path for path in inside if path.suffix.lower() in SUFFIXES]
        # a folder without any, or one that cannot be read, is told of, too
        folders = [one for one in answer if {"error", "path"} <= one.keys() and Path(one["path"]) not in images]
        if out and len(answer) - len(folders) != len(images):
            yield f"{len(images)} images, and {len(answer) - len(folders)} are told of"
        for one in answer:
            if "error" not in one and not all(0 <= said["probability"] <= 1 for said in one["predictions"]):
                yield f"{one['path']!r}: no probabilities"


def test_what_is_forbidden_is_seen() -> None:
    answer = {"error": None, "total": 1.0, "off": 0.0, "mean": 0.0, "apart": 0.0, "seconds": 1, "peak": 300}
    image = {"most_off": 0, "most_mean": 1.0, "refusable": False}
    assert not [*_broken(image, answer)]
    for case, found in [
        (image, {"off": 1.0}), (image, {"mean": 2.0}), (image, {"apart": 0.01}), (image, {"peak": 1025}),
        (image, {"error": "it is no image"}), ({}, {"error": "two\nlines"}), ({}, {"error": 501 * "x"}),
        ({}, {"total": 0.9}), ({}, {"fault": "Traceback"}), ({}, {"aside": "TIFFReadDirectory"}),
        ({"cut": True}, {"differs": True}),
    ]:  # fmt: skip
        assert [*_broken(case, answer | found)], found
    call = {"call": ["predict"], "places": []}
    assert not [*_broken(call, answer | {"code": 3, "out": "[]", "err": "one line\n"})]
    for found in [
        {"code": 70},
        {"err": "\x1b[2J"},
        {"err": 501 * "x"},
        {"out": "[NaN]"},
        {"out": '[{"error": "x"}]'},
        {"out": "["},
    ]:
        assert [*_broken(call, answer | {"code": 0, "out": "[]", "err": ""} | found)], found
