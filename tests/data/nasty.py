"""Folders as people have them, and worse: how each is made, and the right answer to it."""

import io
import os
import socket
import struct
import unicodedata
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from handmade import png_head
from image_sets import picture
from PIL import Image

ACCENT = "caf\N{LATIN SMALL LETTER E WITH ACUTE}"
NFC, NFD = unicodedata.normalize("NFC", ACCENT), unicodedata.normalize("NFD", ACCENT)


@dataclass(frozen=True)
class Right:
    """What a folder holds.

    Attributes:
        images: how many of each class can be read, over all splits.
        splits: how many are in training, validation and test; none: the set brings no splits.
        skipped: what is left out, and the beginning of its reason.
        told: patterns of sentences that a person must read.
        channels: of the images.
    """

    images: dict[str, int]
    splits: tuple[int, int, int] | None = None
    skipped: dict[str, str] = field(default_factory=dict)
    told: tuple[str, ...] = ()
    channels: int = 3


@dataclass(frozen=True)
class Line:
    """One clear line that matches a pattern, and an exit code."""

    pattern: str
    code: int = 3


@dataclass(frozen=True)
class Case:
    """A folder: `make` fills it, and may return another one inside it to name in its place."""

    name: str
    make: Callable[[Path], Path | None]
    answer: Right | Line
    for_root: bool = True


CASES: list[Case] = []
TWO = {"cat": 8, "dog": 8}
SPLIT = ("train", "val", "test")
NO_IMAGE, LEFT_OUT = "it is no image", "it is in no class's folder"


def case(answer: Right | Line, for_root: bool = True) -> Callable[[Callable[[Path], Path | None]], None]:
    """Enter a folder into the table; the name of its function is its name."""

    def enter(make: Callable[[Path], Path | None]) -> None:
        CASES.append(Case(make.__name__, make, answer, for_root))

    return enter


@cache
def raw(seed: int, kind: str = "PNG", mode: str = "RGB", **options: object) -> bytes:
    """An image's file: no two seeds look alike."""
    file = io.BytesIO()
    Image.fromarray(picture(seed)).convert(mode).save(file, kind, **options)
    return file.getvalue()


def put(path: Path, content: bytes) -> None:
    """Write a file, with the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def fill(folder: Path, count: int = 8) -> None:
    """So many images; other ones in a folder of another name, or inside one."""
    first = zlib.crc32(os.fsencode(f"{folder.parent.name}/{folder.name}"))
    for number in range(count):
        put(folder / f"{number}.png", raw(first + number))


def plain(folder: Path, *classes: str, count: int = 8) -> None:
    """A folder with so many images a class, all different."""
    for name in classes or ("cat", "dog"):
        fill(folder / name, count)


def split(folder: Path, *names: str, classes: tuple[str, ...] = ("cat", "dog")) -> None:
    """Folders of splits with four images a class each, all different."""
    for name in names:
        plain(folder / name, *classes, count=4)


def may_read_everything(folder: Path) -> bool:
    """Whether rights mean nothing here, as they do to root."""
    put(folder / "locked", b"x")
    (folder / "locked").chmod(0)
    return os.access(folder / "locked", os.R_OK)


def spoilt(folder: Path, **contents: bytes) -> None:
    """Two classes, and in the first one further files: keywords say their names, with _ for the dot."""
    plain(folder)
    for name, content in contents.items():
        put(folder / "cat" / name.replace("_", "."), content)


# what holds no images


@case(Line("holds no data set: name"))
def nothing(folder):
    pass


@case(Line("holds no data set: name"))
def images_in_no_folder(folder):
    fill(folder)


@case(Line("holds no data set: name"))
def hidden_folders_only(folder):
    plain(folder, ".cat", ".dog")


@case(Line(r"its folders hold no files \(cat, dog\); name a folder with"))
def empty_classes_only(folder):
    (folder / "cat").mkdir()
    (folder / "dog" / "inner").mkdir(parents=True)


@case(Line(r"it has test, train, which count as splits and hold no folders with files; name a folder"))
def empty_splits(folder):
    (folder / "train" / "cat").mkdir(parents=True)
    (folder / "test").mkdir()


@case(Line("none of its 16 images can be read .*0.png: it is no image"))
def no_image_can_be_read(folder):
    for name in ("cat", "dog"):
        for number in range(8):
            put(folder / name / f"{number}.png", f"{name} {number}".encode())


# classes


@case(Right(TWO, told=("Folders without any file are no classes: bird",)))
def an_empty_class(folder):
    plain(folder)
    (folder / "bird").mkdir()


@case(Line(r"one class only \(cat\): there is nothing to tell it from$"))
def one_class(folder):
    plain(folder, "cat")


@case(Line(r"one class only \(cat\): .*; Folders without any file are no classes: dog$"))
def one_class_and_an_empty_one(folder):
    plain(folder, "cat")
    (folder / "dog").mkdir()


@case(Right({"bird": 4, "cat": 8, "dog": 8}, (8, 0, 12), told=("no training images of bird", "no validation images")))
def a_class_in_test_alone(folder):
    split(folder, "train", "test")
    fill(folder / "test" / "bird", 4)


@case(Right({"bird": 4, "cat": 12, "dog": 12}, (12, 8, 8), told=("no validation images of bird", "no test images of")))
def a_class_in_train_alone(folder):
    split(folder, *SPLIT)
    fill(folder / "train" / "bird", 4)


@case(Right({"Cat": 8, "cat": 8}, told=("small and capital letters alone are classes of their own: Cat, cat",)))
def classes_that_differ_in_case(folder):
    plain(folder, "Cat", "cat")


@case(Right({"Cat": 4, "cat": 4, "dog": 8}, (8, 0, 8), told=("no test images of Cat", "no training images of cat")))
def classes_that_differ_in_case_across_splits(folder):
    split(folder, "train", classes=("Cat", "dog"))
    split(folder, "test", classes=("cat", "dog"))


@case(Right({NFC: 16, "dog": 8}))
def classes_that_differ_in_unicode_form(folder):
    plain(folder, NFC, NFD, "dog")


@case(Right({NFC: 8, "dog": 8}, (8, 0, 8)))
def classes_that_differ_in_unicode_form_across_splits(folder):
    split(folder, "train", classes=(NFD, "dog"))
    split(folder, "test", classes=(NFC, "dog"))


@case(Right({"cat": 10, "dog": 8}))
def files_that_differ_in_unicode_form(folder):
    plain(folder)
    put(folder / "cat" / f"{NFC}.png", raw(500))
    put(folder / "cat" / f"{NFD}.png", raw(501))


@case(Right({"$HOME": 8, "%s {0}": 8, "${PATH}": 8, "`id`": 8}))
def classes_that_a_shell_would_expand(folder):
    plain(folder, "$HOME", "${PATH}", "`id`", "%s {0}")


@case(Right({"<script>alert(1)<": 8, "[red]": 8, "a&b;\"'": 8}))
def classes_that_a_page_would_run(folder):
    plain(folder, "<script>alert(1)<", "a&b;\"'", "[red]")


@case(Right({"\x1b[2J\x1b[31mred": 8, "bell\a\b": 8}))
def classes_that_a_terminal_would_obey(folder):
    plain(folder, "\x1b[2J\x1b[31mred", "bell\a\b")


@case(Right({"+1": 8, "-rf": 8, "=cmd()": 8, "@sum": 8}))
def classes_that_a_spreadsheet_would_compute(folder):
    plain(folder, "=cmd()", "+1", "-rf", "@sum")


@case(Right({" cat": 8, "cat": 8, "cat ": 8, "cat\tcat": 8}))
def classes_with_spaces(folder):
    plain(folder, " cat", "cat ", "cat", "cat\tcat")


@case(Right({"cat\ndog": 8, "dog\r\n": 8}))
def classes_with_ends_of_lines(folder):
    plain(folder, "cat\ndog", "dog\r\n")


@case(Right({"*?": 8, "C:\\x": 8, "\N{ZERO WIDTH SPACE}": 8, "\N{RIGHT-TO-LEFT OVERRIDE}gnp": 8, "\U0001f408": 8}))
def classes_of_odd_letters(folder):
    plain(folder, "*?", "C:\\x", "\N{ZERO WIDTH SPACE}", "\N{RIGHT-TO-LEFT OVERRIDE}gnp", "\U0001f408")


@case(Right({"\\xe9\\xff": 8, "dog": 8}))
def a_class_that_is_no_utf_8(folder):
    plain(folder, os.fsdecode(b"\xe9\xff"), "dog")


@case(Right({"cat.png": 8, "dog.": 8, "null": 8, "12": 8}))
def classes_that_look_like_something_else(folder):
    plain(folder, "cat.png", "dog.", "null", "12")


@case(Right({f"class {number:04}": 2 for number in range(2000)}, told=("no validation images of",)))
def two_thousand_classes(folder):
    # a picture each would take seconds to make: the last bytes of a bitmap are its pixels
    bitmap = raw(0, "BMP")
    for number in range(4000):
        put(folder / f"class {number // 2:04}" / f"{number % 2}.bmp", bitmap[:-2] + number.to_bytes(2, "little"))


@case(Line("has too few images to set some aside: there would be no test images"))
def one_image_a_class(folder):
    plain(folder, count=1)


@case(Right({"cat": 2, "dog": 2}, told=("no validation images of its own: 0 of 2",)))
def two_images_a_class(folder):
    plain(folder, count=2)


@case(Line("has too few images to set some aside"))
def the_same_image_all_over(folder):
    for name in ("cat", "dog"):
        for number in range(8):
            put(folder / name / f"{number}.png", raw(1))


@case(
    Right(
        TWO,
        skipped={f"bird/{number}.jpg": NO_IMAGE for number in range(3)},
        told=("Left out: 3 ", "No image of bird can be read"),
    )
)
def a_class_of_broken_images(folder):
    plain(folder)
    for number in range(3):
        put(folder / "bird" / f"{number}.jpg", b"a bird")


@case(Line(r"one class only \(cat\): .*; No image of dog can be read$"))
def one_class_whose_images_are_sound(folder):
    plain(folder, "cat")
    put(folder / "dog" / "0.jpg", b"a dog")


# splits


@case(Right({"cat": 8, "dog": 8}, (8, 8, 0)))
def valid_for_val(folder):
    split(folder, "train", "valid")


@case(Right({"cat": 12, "dog": 12}, (8, 8, 8)))
def capital_splits(folder):
    split(folder, "Train", "VAL", "TEST")


@case(Right({"cat": 20, "dog": 20}, (16, 16, 8)))
def all_names_of_splits(folder):
    split(folder, "train", "training", "validation", "dev", "testing")


@case(Right({"cat": 4, "dog": 4}, (8, 0, 0), told=("no test images of its own", "no validation images of its own")))
def train_alone(folder):
    split(folder, "train")


@case(Line("it has test images, but no training images"))
def test_alone(folder):
    split(folder, "test")


@case(Line("it has test and validation images, but no training images"))
def nothing_to_train_on(folder):
    split(folder, "val", "test")


@case(
    Right(
        {"cat": 8, "dog": 8},
        (8, 0, 8),
        {"bird/": "it stands beside test, train", "train.zip": LEFT_OUT},
        ("Beside test, train these folders were left out: bird",),
    )
)
def splits_and_classes_side_by_side(folder):
    split(folder, "train", "test")
    fill(folder / "bird")
    put(folder / "train.zip", b"PK")


@case(Line("it has train, which count as splits and hold no folders with files, and bus, car beside; name a folder"))
def a_class_that_is_called_train(folder):
    plain(folder, "bus", "car", "train")


@case(Right({"cat": 4, "dog": 4}, (8, 0, 0), {f"test/{number}.png": LEFT_OUT for number in range(8)}))
def test_images_without_classes(folder):
    split(folder, "train")
    fill(folder / "test")


@case(Right({"cat": 8, "dog": 8}, (8, 0, 8)))
def one_image_in_two_splits(folder):
    split(folder, "train", "test")
    put(folder / "test" / "cat" / "0.png", (folder / "train" / "cat" / "0.png").read_bytes())


@case(Right({"cat": 9, "dog": 9}))
def one_image_in_two_classes(folder):
    plain(folder)
    for name in ("cat", "dog"):
        put(folder / name / "both.png", raw(77))


@case(Right({"cat": 8, "dog": 8}, (8, 8, 0)))
def a_split_that_is_a_link_to_another(folder):
    split(folder, "train")
    (folder / "val").symlink_to("train")


# where folders lie


@case(Right({"cat": 12, "dog": 8}))
def folders_inside_a_class(folder):
    plain(folder)
    fill(folder / "cat" / "train" / "black", 2)
    fill(folder / "cat" / "white", 2)


@case(Line(r"one class only \(photos\): .*; photos holds folders itself \(test, train\): if they .*, name .*/photos$"))
def a_folder_around_splits(folder):
    split(folder / "photos", "train", "test")


@case(Line(r"one class only \(photos\): .*; photos holds folders itself \(cat, dog\): if they .*, name .*/photos$"))
def a_folder_around_classes(folder):
    plain(folder / "photos")


@case(Line(r"one class only \(all\): .*; train/all holds folders itself \(cat, dog\)"))
def a_folder_between_split_and_classes(folder):
    plain(folder / "train" / "all")


@case(Right({"cat": 9, "dog": 8}))
def forty_folders_deep(folder):
    plain(folder)
    put(folder.joinpath("cat", *(str(depth) for depth in range(40)), "0.png"), raw(99))


@case(Right({"cat": 9, "x" * 200: 8}))
def long_names(folder):
    plain(folder, "cat", "x" * 200)
    put(folder / "cat" / ("y" * 251 + ".png"), raw(99))


@case(Right(TWO, skipped={".ipynb_checkpoints": "it is hidden", "cat/.ipynb_checkpoints": "it is hidden"}))
def notebook_checkpoints(folder):
    plain(folder)
    fill(folder / ".ipynb_checkpoints")
    fill(folder / "cat" / ".ipynb_checkpoints")


@case(
    Right(
        TWO,
        skipped={
            "Thumbs.db": LEFT_OUT, "cat/.DS_Store": "it is hidden", "cat/Thumbs.db": NO_IMAGE,
            "__MACOSX/._cat": "it is hidden", "dog/desktop.ini": NO_IMAGE,
        },
        told=("Left out: 3 ", "no classes: __MACOSX"),
    )
)  # fmt: skip
def what_systems_leave_behind(folder):
    plain(folder)
    for name in ("Thumbs.db", "cat/.DS_Store", "cat/Thumbs.db", "__MACOSX/._cat", "dog/desktop.ini"):
        put(folder / name, b"\0\1\2")


@case(Right(TWO, skipped={"train": LEFT_OUT, "labels.csv": LEFT_OUT, "0.png": LEFT_OUT}))
def files_beside_classes(folder):
    plain(folder)
    put(folder / "train", b"a file")
    put(folder / "labels.csv", b"0,cat")
    put(folder / "0.png", raw(5))


@case(Right({"cat": 12, "dog": 8}))
def file_names_that_are_no_utf_8(folder):
    plain(folder)
    for seed, name in enumerate((b"\xff.png", b"\\xff.png", b"\xc3\xa9\xe9.png", b"\xed\xb3\xbf.png")):
        put(folder / "cat" / os.fsdecode(name), raw(600 + seed))


@case(Right(TWO))
def a_place_that_is_no_utf_8(folder):
    place = folder / os.fsdecode(b"\xff\x1b[31m\n<b>")
    plain(place)
    return place


@case(Line("^--data .*its folders hold no files"))
def a_place_with_an_end_of_line(folder):
    place = folder / "one\ntwo\x1b[31m"
    (place / "cat").mkdir(parents=True)
    return place


# links


@case(Right(TWO, skipped={"cat/loop": "it leads to a folder that was seen already"}))
def a_link_to_its_own_folder(folder):
    plain(folder)
    (folder / "cat" / "loop").symlink_to(".")


@case(Right(TWO, skipped={"all": "it leads to a folder that was seen", "cat/back": "it leads to a folder that was"}))
def links_to_the_root(folder):
    plain(folder)
    (folder / "all").symlink_to(".")
    (folder / "cat" / "back").symlink_to(folder.absolute())


@case(
    Right(TWO, skipped={"cat/up": "it leads to a folder that was seen already", "dog/system": "it leads to a folder"})
)
def links_above_the_root(folder):
    plain(folder / "inner")
    plain(folder / "secret")
    (folder / "inner" / "cat" / "up").symlink_to("../..")
    (folder / "inner" / "dog" / "system").symlink_to("/")
    return folder / "inner"


@case(Right({"cat": 16, "dog": 16}, skipped={"cat/d/c": "it leads to a folder", "dog/c/d": "it leads to a folder"}))
def classes_that_link_to_each_other(folder):
    plain(folder)
    (folder / "cat" / "d").symlink_to("../dog")
    (folder / "dog" / "c").symlink_to("../cat")


@case(Right({"cat": 9, "dog": 8, "fox": 8}))
def links_to_files_and_folders_elsewhere(folder):
    plain(folder / "inner")
    fill(folder / "elsewhere")
    put(folder / "one.png", raw(400))
    (folder / "inner" / "fox").symlink_to(folder / "elsewhere")
    (folder / "inner" / "cat" / "one.png").symlink_to("../../one.png")
    return folder / "inner"


@case(
    Right(TWO, skipped={"cat/gone.png": "No such file", "dog/gone": "No such file", "cat/self.png": "Too many levels"})
)
def links_to_nothing(folder):
    plain(folder)
    (folder / "cat" / "gone.png").symlink_to("nowhere.png")
    (folder / "dog" / "gone").symlink_to("nowhere")
    (folder / "cat" / "self.png").symlink_to("self.png")


@case(Right({"cat": 8, "dog": 16}))
def two_names_for_a_file(folder):
    plain(folder)
    for number in range(8):
        os.link(folder / "cat" / f"{number}.png", folder / "dog" / f"twin {number}.png")


# rights


@case(Right(TWO, skipped={"cat/locked.png": "Permission denied"}), for_root=False)
def a_file_that_may_not_be_read(folder):
    spoilt(folder, locked_png=raw(3))
    (folder / "cat" / "locked.png").chmod(0)


@case(Right(TWO, skipped={"cat/locked": "Permission denied"}), for_root=False)
def a_folder_that_may_not_be_read(folder):
    plain(folder)
    fill(folder / "cat" / "locked")
    (folder / "cat" / "locked").chmod(0)


@case(Right(TWO))
def a_folder_that_may_not_be_written(folder):
    plain(folder)
    for place in (folder / "cat", folder / "dog", folder):
        place.chmod(0o555)


# files


@case(Right(TWO, skipped={"cat/a.png": "it is empty", "cat/b.jpg": "it is empty"}, told=("Left out: 2 ",)))
def files_without_a_byte(folder):
    spoilt(folder, a_png=b"", b_jpg=b"")


@case(Right(TWO, skipped={"cat/a.jpg": NO_IMAGE, "cat/b.jpg": NO_IMAGE}))
def text_that_is_called_an_image(folder):
    spoilt(folder, a_jpg=b"no image", b_jpg=b"<html><body>404 Not Found</body></html>")


@case(Right({"cat": 11, "dog": 8}))
def images_whose_names_are_wrong(folder):
    spoilt(folder, a_jpg=raw(1), b_png=raw(2, "JPEG"), c_txt=raw(3, "WEBP"))


@case(Right({"cat": 9, "dog": 8}))
def images_for_print(folder):
    spoilt(folder, a_jpg=raw(1, "JPEG", "CMYK"))


@case(Right(TWO, channels=1))
def sixteen_bits(folder):
    for seed in range(16):
        deep = io.BytesIO()
        Image.fromarray(picture(seed, grey=True).astype(np.uint16) * 257).save(deep, "PNG")
        put(folder / ("cat" if seed % 2 else "dog") / f"{seed}.png", deep.getvalue())


@case(Right({"cat": 9, "dog": 8}))
def grey_and_coloured(folder):
    spoilt(folder, a_png=raw(1, "PNG", "L"))


@case(Right({"cat": 11, "dog": 8}))
def more_frames_than_one(folder):
    frames = {"append_images": (Image.new("RGB", (24, 20)),), "save_all": True}
    many = {}
    for seed, kind in enumerate(("MPO", "GIF", "WEBP")):
        file = io.BytesIO()
        Image.fromarray(picture(seed)).save(file, kind, **frames)
        many[f"{kind.lower()}_jpg"] = file.getvalue()
    spoilt(folder, **many)


@case(Right({"cat": 11, "dog": 8}))
def damaged_exif(folder):
    text_for_a_number = struct.pack("<HHI", 0x0100, 2, 4) + b"abc\0" + struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    tags = (b"Exif\0\0" + b"\xff" * 99, b"Exif\0\0II*\0\xff\xff\xff\xff",
            b"Exif\0\0II*\0\x08\0\0\0\x02\0" + text_for_a_number + b"\0\0\0\0")  # fmt: skip
    spoilt(folder, **{f"{seed}a_jpg": raw(seed, "JPEG", exif=exif) for seed, exif in enumerate(tags)})


@case(Right(TWO, skipped={"cat/a.jpg": "image file is truncated", "cat/b.png": "", "cat/c.gif": "", "cat/d.webp": ""}))
def files_that_were_cut_off(folder):
    cut = {f"{name}_{kind.lower()}": raw(3, kind)[:-300] for name, kind in zip("bcd", ("PNG", "GIF", "WEBP"))}  # noqa: B905
    jpeg = io.BytesIO()
    Image.fromarray(picture(3, 200, 200)).save(jpeg, "JPEG", quality=95)
    spoilt(folder, a_jpg=jpeg.getvalue()[:3000], **cut)


@case(
    Right(TWO, skipped={"cat/a.png": "it has far too many pixels: shrink it", "cat/b.png": "it has 7100x7100 pixels"})
)
def images_that_would_fill_the_memory(folder):
    spoilt(folder, a_png=png_head(20_000, 20_000), b_png=png_head(7_100, 7_100))


@case(Right({"cat": 11, "dog": 8}))
def images_of_a_pixel_or_a_line(folder):
    lines = {}
    for name, size in (("a_png", (1, 1)), ("b_png", (1, 3000)), ("c_png", (3000, 1))):
        file = io.BytesIO()
        Image.new("RGB", size, (10, 200, 30)).save(file, "PNG")
        lines[name] = file.getvalue()
    spoilt(folder, **lines)


@case(Right(TWO, skipped={"cat/pipe.png": "it is not a regular file", "dog/s": "it is not a regular file"}))
def a_pipe_and_a_socket(folder):
    plain(folder)
    os.mkfifo(folder / "cat" / "pipe.png")
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX) as bound:
        os.chdir(folder / "dog")  # a socket's path may have 100 letters
        try:
            bound.bind("s")
        finally:
            os.chdir(here)


@case(Right(TWO, skipped={"cat/a.svg": NO_IMAGE, "cat/b.pdf": NO_IMAGE, "cat/c.zip": NO_IMAGE, "cat/d.mp4": NO_IMAGE}))
def files_of_other_kinds(folder):
    spoilt(
        folder, a_svg=b"<svg xmlns='http://www.w3.org/2000/svg'/>", b_pdf=b"%PDF-1.7\n", c_zip=b"PK\3\4" + bytes(30),
        d_mp4=b"\0\0\0\x18ftypmp42" + bytes(40),
    )  # fmt: skip
