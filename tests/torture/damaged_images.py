"""Images without a right answer, or with none but a refusal: damaged, lying, large enough to fill a memory."""

import random
import re
import struct
import zlib
from collections.abc import Callable

import handmade
import right_images
from handmade import GREY, GREY_ALPHA, PALETTE, RGB, RGB_ALPHA, chunk
from PIL import Image

DAMAGES: dict[str, Callable[[random.Random, bytes], bytes]] = {}


def damage(spoil: Callable[[random.Random, bytes], bytes]) -> Callable[[random.Random, bytes], bytes]:
    """Enter a way to damage a file into the table."""
    DAMAGES[spoil.__name__] = spoil
    return spoil


@damage
def cut_off(rng: random.Random, raw: bytes) -> bytes:
    return raw[: rng.choice([rng.randrange(len(raw)), rng.randrange(min(64, len(raw))), len(raw) - rng.randint(1, 9)])]


@damage
def flipped_bits(rng: random.Random, raw: bytes) -> bytes:
    content = bytearray(raw)
    for _ in range(rng.choice([1, 1, 3, 30])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


@damage
def flipped_head(rng: random.Random, raw: bytes) -> bytes:
    content = bytearray(raw)
    for _ in range(rng.choice([1, 2, 5])):
        content[rng.randrange(min(80, len(content)))] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
    return bytes(content)


@damage
def lying_size(rng: random.Random, raw: bytes) -> bytes:
    """Another width or height, wherever a number could be one; of a PNG with the checksum that goes with it."""
    told = rng.choice([0, 1, 31, 33, 255, 4096, 65_500, 10**6, 2**31 - 1, 2**32 - 1])
    if raw.startswith(b"\x89PNG"):
        head = bytearray(raw[16:29])
        struct.pack_into(">I", head, rng.choice([0, 4]), told)
        return raw[:8] + chunk(b"IHDR", bytes(head)) + raw[33:]
    if raw[:1] == b"P":
        return re.sub(rb"\d+ \d+\n", b"%d %d\n" % rng.choice([(told, 32), (32, told), (told, told)]), raw, count=1)
    side = rng.choice([right_images.SIDE] * 3 + [20, 24, 48, 64])
    forms = [form for form in ("<H", ">H", "<I", ">I") if told < 256 ** struct.calcsize(form)]
    form = rng.choice(forms)
    return raw.replace(struct.pack(form, side), struct.pack(form, told), rng.choice([1, 2, -1]))


@damage
def spliced(rng: random.Random, raw: bytes) -> bytes:
    """The head of one format and the rest of another."""
    _, other = right_images.drawn(rng, rng.randrange(1000))
    return raw[: rng.randrange(min(200, len(raw)))] + other.raw[rng.randrange(min(200, len(other.raw))) :]


@damage
def repeated(rng: random.Random, raw: bytes) -> bytes:
    """A part of it many times over."""
    begin = rng.randrange(len(raw))
    return raw[:begin] + raw[begin : begin + rng.randint(1, 40)] * rng.choice([2, 100, 20_000]) + raw[begin:]


@damage
def with_noise(rng: random.Random, raw: bytes) -> bytes:
    """The first bytes, by which a format is known, and noise."""
    return raw[: rng.choice([2, 4, 8, 12, 30])] + rng.randbytes(rng.choice([0, 10, 5000]))


def drawn(rng: random.Random, number: int) -> tuple[str, bytes, bytes]:
    """Name of a damaged file, its bytes, and those of the whole one."""
    names = list(DAMAGES)
    name = names[number % len(names)]
    whose, whole = right_images.drawn(rng, rng.randrange(1000))
    return f"{number}-{name}-of-{whose}", DAMAGES[name](rng, whole.raw), whole.raw


# what would fill the memory

BOMBS: dict[str, Callable[[], bytes]] = {}


def bomb(name: str, make: Callable[[], bytes]) -> None:
    """Enter a file into the table."""
    BOMBS[name] = make


def zeros(count: int) -> bytes:
    """So many zeros, compressed, without their being there at once."""
    packer = zlib.compressobj(1)
    parts = [packer.compress(bytes(2**20)) for _ in range(count >> 20)]
    return b"".join([*parts, packer.compress(bytes(count % 2**20)), packer.flush()])


def large_png(side: int, bits: int, kind: int, *parts: bytes, interlaced: bool = False) -> bytes:
    channels = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}[kind]
    lines = side * (1 + -(-side * channels * bits // 8)) + (8 * side if interlaced else 0)
    return handmade.png_file(side, side, bits, kind, *parts, chunk(b"IDAT", zeros(lines)), interlaced=interlaced)


def large_tiff(side: int, bits: int, channels: int, photometric: int, sign: int = 1, strips: int = 100) -> bytes:
    """All strips are the same bytes of the file."""
    rows = -(-side // strips)
    strip = zeros(rows * side * channels * bits // 8)
    extra = [(338, 3, [1])] if photometric == 2 and channels == 4 else []
    tags = [(256, 4, [side]), (257, 4, [side]), (258, 3, [bits] * channels), (259, 3, [8]), (262, 3, [photometric]),
            (273, 4, [8] * strips), (277, 3, [channels]), (278, 4, [rows]), (279, 4, [len(strip)] * strips),
            *extra, (339, 3, [sign] * channels)]  # fmt: skip
    place = 8 + len(strip)
    body, behind = struct.pack("<H", len(tags)), b""
    after = place + 2 + 12 * len(tags) + 4
    for tag, kind, values in tags:
        packed = struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values)
        where = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<I", after + len(behind))
        behind += b"" if len(packed) <= 4 else packed
        body += struct.pack("<HHI", tag, kind, len(values)) + where
    return struct.pack("<2sHI", b"II", 42, place) + strip + body + bytes(4) + behind


def large_jpeg(side: int, **options: object) -> bytes:
    """Of one colour: the same line of blocks again and again, each of which begins anew by a restart marker."""
    mode = str(options.pop("mode", "RGB"))
    raw = right_images.saved(Image.new(mode, (side, 64), 90), "JPEG", restart_marker_rows=1, subsampling=0, **options)
    parts = re.split(rb"(\xff[\xc0\xc2\xc4\xda\xd9])", raw)
    out = parts[0]
    for marker, content in zip(parts[1::2], parts[2::2], strict=True):
        if marker[1] in (0xC0, 0xC2):
            content = content[:3] + struct.pack(">H", side) + content[5:]
        elif marker[1] == 0xDA:
            (length,) = struct.unpack_from(">H", content)
            first = re.split(rb"\xff[\xd0-\xd7]", content[length:])[0]
            lines = -(-side // 8)
            again = b"".join(first + b"\xff" + bytes([0xD0 + place % 8]) for place in range(lines - 1))
            content = content[:length] + again + first
        out += marker + content
    return out


def saved_large(format: str, mode: str, side: int, **options: object) -> bytes:
    return right_images.saved(Image.new(mode, (side, side), 0), format, **options)


def _texts(kind: bytes, count: int) -> bytes:
    """Texts that are short in the file and long in memory."""
    head = {b"zTXt": b"Comment\0\0", b"iTXt": b"Comment\0\1\0\0\0", b"iCCP": b"sRGB\0\0"}[kind]
    packed = zlib.compress(bytes(2**28 // count), 9)
    return handmade.png_file(32, 32, 8, GREY, *[chunk(kind, head + packed)] * count, chunk(b"IDAT", zeros(33 * 32)))


bomb("palette.png", lambda: large_png(13_000, 8, PALETTE, chunk(b"PLTE", bytes(768))))
bomb("just too large.png", lambda: large_png(7072, 8, GREY))
bomb("floats.tif", lambda: large_tiff(7000, 32, 1, 1, sign=3))
bomb("whole numbers.tif", lambda: large_tiff(7000, 32, 1, 1, sign=2))
bomb("floats in one strip.tif", lambda: large_tiff(7000, 32, 1, 1, sign=3, strips=1))
bomb("alpha.png", lambda: large_png(7000, 8, RGB_ALPHA))
bomb("alpha of 16 bits.png", lambda: large_png(7000, 16, RGB_ALPHA))
bomb("grey and alpha, interlaced.png", lambda: large_png(7000, 8, GREY_ALPHA, interlaced=True))
bomb("grey of 16 bits.png", lambda: large_png(7000, 16, GREY, chunk(b"tRNS", b"\0\0")))
bomb("palette with alpha.png", lambda: large_png(7000, 8, PALETTE, chunk(b"PLTE", bytes(768)), chunk(b"tRNS", b"\x09")))
bomb("one bit.png", lambda: large_png(7000, 1, GREY, chunk(b"tRNS", b"\0\1")))
bomb("inks.tif", lambda: large_tiff(7000, 8, 4, 5))
bomb("inks of 16 bits.tif", lambda: large_tiff(7000, 16, 4, 5))
bomb("alpha of 16 bits.tif", lambda: large_tiff(7000, 16, 4, 2))
bomb("far too large.tif", lambda: large_tiff(60_000, 8, 1, 1))
bomb("by lines.jpg", lambda: large_jpeg(13_000))
bomb("in several scans.jpg", lambda: large_jpeg(13_000, progressive=True))
bomb("in several scans, of inks.jpg", lambda: large_jpeg(13_000, progressive=True, mode="CMYK"))
bomb("in several scans, small enough.jpg", lambda: large_jpeg(7000, progressive=True, mode="CMYK"))
bomb("far too large.jpg", lambda: large_jpeg(20_000))
bomb("small enough.webp", lambda: saved_large("WEBP", "RGBA", 4990, lossless=True, method=0, quality=0))
bomb("too large.webp", lambda: saved_large("WEBP", "RGB", 7000, method=0, quality=0))
bomb("small enough.avif", lambda: saved_large("AVIF", "RGBA", 4990, speed=10, subsampling="4:4:4"))
bomb("large.gif", lambda: saved_large("GIF", "P", 7000))
bomb("large.bmp", lambda: saved_large("BMP", "1", 7000))
bomb("many texts.png", lambda: _texts(b"zTXt", 512))
bomb("one text.png", lambda: _texts(b"zTXt", 1))
bomb("many international texts.png", lambda: _texts(b"iTXt", 512))
bomb("profile.png", lambda: _texts(b"iCCP", 1))
