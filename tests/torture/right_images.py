"""Images whose right answer is known: the content first, as an array, then a file of one of the formats that holds it.

What a person sees is worked out here from the content and never by flyweight: `Content.seen`.
"""

import io
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

import handmade
import numpy as np
import tifffile
from handmade import GREY, GREY_ALPHA, LYING, PALETTE, RGB, RGB_ALPHA, chunk, with_orientation
from image_sets import picture
from PIL import Image, ImageCms

SIDE = 32
"""Of the images that the network takes."""


@dataclass(frozen=True)
class Content:
    """A file and what is in it.

    Attributes:
        raw: the file.
        seen: (H, W, 3) uint8, what a person sees.
        off: levels that a pixel may differ from it at most: 0 where nothing is lost, more where the format loses some.
        mean: levels that the pixels may differ from it on average.
        refusable: whether the format is so rare that it may be refused.
    """

    raw: bytes
    seen: np.ndarray
    off: int = 0
    mean: float = 1.0
    refusable: bool = False


Make = Callable[[random.Random], Content]
KINDS: dict[str, Make] = {}


def kind(make: Make) -> Make:
    """Enter a way to make a file into the table."""
    KINDS[make.__name__] = make
    return make


LOSSY = {"off": 40, "mean": 6.0}
"""What a lossy format may change of coarse pictures at high quality."""


def sides(rng: random.Random) -> tuple[int, int]:
    """Height and width: mostly the network's own, so that nothing is resized."""
    return rng.choice([(SIDE, SIDE)] * 4 + [(20, 24), (33, 31), (64, 48), (48, 64), (1, 1), (1, 40), (40, 1), (7, 5)])


def colours(rng: random.Random) -> np.ndarray:
    """(H, W, 3) uint8."""
    return picture(rng.randrange(2**31), *sides(rng)).copy()


def greys(rng: random.Random) -> np.ndarray:
    """(H, W) uint8."""
    return picture(rng.randrange(2**31), *sides(rng), grey=True).copy()


def three(grey: np.ndarray) -> np.ndarray:
    """Grey as RGB."""
    return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)


def on_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """What is seen where white lies behind; alpha (H, W) 0 to 255."""
    share = alpha[:, :, None] / 255
    return np.round(rgb * share + 255 * (1 - share)).astype(np.uint8)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    """The bytes of a file of Pillow's."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


# PNG, by hand


def _around(rng: random.Random) -> tuple[list[bytes], list[bytes]]:
    """Chunks that change nothing of the picture, before it and behind it."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    import zlib

    parts = [
        chunk(b"gAMA", struct.pack(">I", 45455)),
        chunk(b"pHYs", struct.pack(">IIB", 3, 7000, 1)),
        chunk(b"tEXt", b"Comment\0" + bytes(range(256))),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(900_000))),
        chunk(b"iTXt", b"Comment\0\1\0de\0\0" + zlib.compress("größer".encode() * 1000)),
        chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(profile)),
        chunk(b"tIME", bytes(7)),
        chunk(b"abCd", rng.randbytes(30)),
        chunk(b"eXIf", with_orientation(1)[6:]),
        chunk(b"eXIf", rng.randbytes(40)),
    ]
    behind = [part for part in parts if part[4:8] in (b"tEXt", b"zTXt", b"iTXt", b"tIME")]
    return rng.sample(parts, rng.randrange(3)), rng.sample(behind, rng.randrange(2))


def _png(rng: random.Random, samples: np.ndarray, bits: int, colour: int, *parts: bytes) -> bytes:
    before, after = _around(rng)
    filters = rng.choice([(0,), (1, 2, 3, 4), (4,), (2, 0)])
    return handmade.png(samples, bits, colour, [*before, *parts], after, rng.random() < 0.3, filters)


@kind
def png_grey(rng: random.Random) -> Content:
    bits, full = rng.choice([1, 2, 4, 8]), greys(rng)
    samples = full >> (8 - bits)
    seen = samples.astype(int) * 255 // (2**bits - 1)
    if rng.random() < 0.5:
        return Content(_png(rng, samples[:, :, None], bits, GREY), three(seen))
    clear = int(rng.choice(samples.ravel()))
    raw = _png(rng, samples[:, :, None], bits, GREY, chunk(b"tRNS", struct.pack(">H", clear)))
    return Content(raw, three(np.where(samples == clear, 255, seen)))


@kind
def png_grey_16(rng: random.Random) -> Content:
    full = greys(rng)
    samples = full.astype(int) * 256 + np.frombuffer(rng.randbytes(full.size), np.uint8).reshape(full.shape)
    if rng.random() < 0.5:
        return Content(_png(rng, samples[:, :, None], 16, GREY), three(full), 1)
    clear = int(rng.choice(samples.ravel()))
    raw = _png(rng, samples[:, :, None], 16, GREY, chunk(b"tRNS", struct.pack(">H", clear)))
    return Content(raw, three(np.where(samples == clear, 255, full)), 1)


@kind
def png_rgb(rng: random.Random) -> Content:
    bits, full = rng.choice([8, 16]), colours(rng)
    # equal colours of 16 bits where those of 8 are
    samples = full if bits == 8 else full.astype(int) * 256 + (full.astype(int) * 7 + 13) % 256
    if rng.random() < 0.5:
        return Content(_png(rng, samples, bits, RGB), full)
    clear = samples[rng.randrange(len(full)), rng.randrange(full.shape[1])]
    raw = _png(rng, samples, bits, RGB, chunk(b"tRNS", struct.pack(">HHH", *map(int, clear))))
    return Content(raw, np.where((samples == clear).all(2, keepdims=True), 255, full).astype(np.uint8))


@kind
def png_alpha(rng: random.Random) -> Content:
    bits, grey = rng.choice([8, 16]), rng.random() < 0.5
    full = three(greys(rng)) if grey else colours(rng)
    alpha = picture(rng.randrange(2**31), *full.shape[:2], grey=True)
    samples = np.dstack([full[:, :, :1] if grey else full, alpha])
    raw = _png(rng, samples if bits == 8 else samples.astype(int) * 257, bits, GREY_ALPHA if grey else RGB_ALPHA)
    return Content(raw, on_white(full, alpha), 1)


@kind
def png_palette(rng: random.Random) -> Content:
    bits, indices = rng.choice([1, 2, 4, 8]), greys(rng)
    indices = indices >> (8 - bits)
    count = int(indices.max()) + 1
    palette = np.frombuffer(rng.randbytes(3 * count), np.uint8).reshape(count, 3)
    parts, seen = [chunk(b"PLTE", palette.tobytes())], palette[indices]
    if rng.random() < 0.5:  # as many alphas as the first colours of the palette
        alphas = rng.randbytes(rng.randint(1, count))
        parts.append(chunk(b"tRNS", alphas))
        seen = on_white(seen, np.frombuffer(alphas + bytes([255] * 256), np.uint8)[indices])
    return Content(_png(rng, indices[:, :, None], bits, PALETTE, *parts), seen, 1)


# what Pillow writes


@kind
def jpeg(rng: random.Random) -> Content:
    grey, full = rng.random() < 0.3, colours(rng)
    if grey:
        full = three(full[:, :, 1])
    options = {
        "quality": rng.choice([92, 97, 100]), "progressive": rng.random() < 0.4, "optimize": rng.random() < 0.3,
        "subsampling": 0, "restart_marker_rows": rng.choice([0, 1]), "comment": rng.randbytes(rng.choice([0, 9, 5000])),
    }  # fmt: skip
    image = Image.fromarray(full)
    return Content(saved(image.convert("L") if grey else image, "JPEG", **options), full, **LOSSY)


@kind
def jpeg_cmyk(rng: random.Random) -> Content:
    """As print shops have it: with Adobe's marker, and inverted."""
    inks, seen = _inks(rng)
    raw = saved(Image.fromarray(inks, "CMYK"), "JPEG", quality=100, subsampling=0, progressive=rng.random() < 0.5)
    return Content(raw, seen, **LOSSY)


def _inks(rng: random.Random) -> tuple[np.ndarray, np.ndarray]:
    inks = np.dstack([colours_of(rng, SIDE, SIDE), picture(rng.randrange(2**31), SIDE, SIDE, grey=True) // 2])
    left = 255.0 - inks
    return inks, np.round(left[:, :, :3] * left[:, :, 3:] / 255).astype(np.uint8)


def colours_of(rng: random.Random, height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8."""
    return picture(rng.randrange(2**31), height, width)


@kind
def gif(rng: random.Random) -> Content:
    indices = greys(rng) >> rng.choice([1, 2, 4])
    palette = np.frombuffer(rng.randbytes(768), np.uint8).reshape(256, 3)
    image = Image.fromarray(indices, "P")
    image.putpalette(palette.tobytes())
    seen, options = palette[indices], {"optimize": False, "interlace": rng.random() < 0.5}
    if rng.random() < 0.5:
        clear = int(rng.choice(indices.ravel()))
        options["transparency"] = clear
        seen = np.where((indices == clear)[:, :, None], 255, seen).astype(np.uint8)
    return Content(saved(image, "GIF", comment=rng.randbytes(rng.choice([1, 3000])), **options), seen)


@kind
def bmp(rng: random.Random) -> Content:
    full = colours(rng)
    mode = rng.choice(["1", "L", "P", "RGB"])
    image = Image.fromarray(full)
    image = image.quantize(64) if mode == "P" else image.convert(mode)
    return Content(saved(image, "BMP"), _told(image))


def _told(image: Image.Image) -> np.ndarray:
    """The numbers of an image in memory, with its palette, looked up by hand."""
    numbers = np.array(image)
    if image.mode == "P":
        return np.array(image.getpalette(), np.uint8).reshape(-1, 3)[numbers]
    return three(np.where(numbers, 255, 0) if image.mode == "1" else numbers) if numbers.ndim == 2 else numbers


@kind
def bmp_by_hand(rng: random.Random) -> Content:
    """Lines from the top, of 16 bits a pixel (5, 6, 5), or of 4 with a palette."""
    full, four = colours(rng), rng.random() < 0.5
    height, width = full.shape[:2]
    if four:
        palette = np.frombuffer(rng.randbytes(48), np.uint8).reshape(16, 3)
        indices = full[:, :, 0] >> 4
        padded = np.pad(indices, ((0, 0), (0, -width % 8)))
        lines = (padded[:, ::2] << 4 | padded[:, 1::2]).tobytes()
        table = np.pad(palette[:, ::-1], ((0, 0), (0, 1))).tobytes()
        seen, bits, method = palette[indices], 4, 0
    else:
        red, green, blue = (full[:, :, place].astype(np.uint16) >> 8 - bits for place, bits in enumerate((5, 6, 5)))
        lines = np.pad(red << 11 | green << 5 | blue, ((0, 0), (0, width % 2))).astype("<u2").tobytes()
        table = struct.pack("<III", 0xF800, 0x7E0, 0x1F)
        seen = np.dstack([red * 255 // 31, green * 255 // 63, blue * 255 // 31]).astype(np.uint8)
        bits, method = 16, 3
    head = struct.pack("<IiiHHIIiiII", 40, width, -height, 1, bits, method, len(lines), 0, 0, 16 if four else 0, 0)
    begin = 14 + len(head) + len(table)
    raw = b"BM" + struct.pack("<IHHI", begin + len(lines), 0, 0, begin) + head + table + lines
    return Content(raw, seen, 0 if four else 8)


@kind
def webp(rng: random.Random) -> Content:
    full = colours(rng)
    if rng.random() < 0.3:  # which has fewer colours than greys, so that small pictures are lost
        full = colours_of(rng, SIDE, SIDE)
        return Content(saved(Image.fromarray(full), "WEBP", quality=100, method=0), full, 90, 12.0)
    if rng.random() < 0.5:
        return Content(saved(Image.fromarray(full), "WEBP", lossless=True), full)
    alpha = picture(rng.randrange(2**31), *full.shape[:2], grey=True)
    raw = saved(Image.fromarray(np.dstack([full, alpha])), "WEBP", lossless=True, exact=True)
    return Content(raw, on_white(full, alpha), 1)


@kind
def avif(rng: random.Random) -> Content:
    full = colours(rng)
    options = {"quality": 100, "subsampling": "4:4:4", "speed": 9}
    if rng.random() < 0.5:
        return Content(saved(Image.fromarray(full), "AVIF", **options), full, **LOSSY)
    alpha = picture(rng.randrange(2**31), *full.shape[:2], grey=True)
    raw = saved(Image.fromarray(np.dstack([full, alpha])), "AVIF", **options)
    return Content(raw, on_white(full, alpha), **LOSSY)


@kind
def tiff_of_pillow(rng: random.Random) -> Content:
    full, mode = colours(rng), rng.choice(["1", "L", "P", "RGB", "RGBA", "LA", "PA", "YCbCr", "CMYK", "LAB"])
    pressed = rng.choice(["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", *(["group4"] if mode == "1" else [])])
    off, image = 0, Image.fromarray(full)
    alpha = picture(rng.randrange(2**31), *full.shape[:2], grey=True)
    if mode in ("RGBA", "LA", "PA"):
        image = image.convert({"RGBA": "RGB", "LA": "L", "PA": "P"}[mode])
        plain, off = _told(image), 1
        image = image.convert(mode)
        image.putalpha(Image.fromarray(alpha))
        seen = on_white(plain, alpha)
    elif mode == "CMYK":
        inks, seen = _inks(rng)
        image, off = Image.fromarray(inks, "CMYK"), 1
    elif mode == "YCbCr":
        image, seen, off = image.convert("YCbCr"), full, 3
    elif mode == "LAB":
        seen, off = three(full[:, :, 1]), 3
        image = _lab(full[:, :, 1])
    else:
        image = image.quantize(64) if mode == "P" else image.convert(mode)
        seen = _told(image)
    return Content(saved(image, "TIFF", compression=pressed), seen, off, 3.0)


def _lab(grey: np.ndarray) -> Image.Image:
    """Greys as CIE's L*, 0 to 100 in 0 to 255, without colour; by sRGB's formula."""
    linear = np.where(grey <= 10, grey / 255 / 12.92, ((grey / 255 + 0.055) / 1.055) ** 2.4)
    light = np.where(linear > 216 / 24389, 116 * np.cbrt(linear) - 16, linear * 24389 / 27)
    bands = [Image.fromarray(np.round(light * 2.55).astype(np.uint8)), *[Image.new("L", grey.shape[::-1], 128)] * 2]
    return Image.merge("LAB", bands)


# what tifffile writes


def _tiff(rng: random.Random, numbers: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    order, tile = rng.choice("<>"), rng.choice([None, (16, 16)])
    pressed = rng.choice([None, "zlib"])
    options = {"byteorder": order, "tile": tile, "compression": pressed, "metadata": None} | options
    tifffile.imwrite(file, numbers.astype(numbers.dtype.newbyteorder(order)), bigtiff=rng.random() < 0.2, **options)
    return file.getvalue()


@kind
def tiff_float(rng: random.Random) -> Content:
    """Shares of white, or levels of 8 or 16 bits; some pixels are no numbers, or infinite."""
    grey = greys(rng)
    grey.flat[0] = 255  # so that the scale is known
    numbers = grey.astype(np.float32) / 255 * rng.choice([1.0, 255.0, 65535.0])
    seen = grey.copy()
    for _ in range(rng.randrange(4)):
        place = rng.randrange(grey.size)
        if place:
            numbers.flat[place], seen.flat[place] = rng.choice(
                [(np.nan, 0), (np.inf, 255), (-np.inf, 0), (-1e30, 0), (-0.0, 0), (1e-40, 0)]
            )
    return Content(_tiff(rng, numbers, photometric="minisblack"), three(seen), 1, refusable=True)


@kind
def tiff_whole(rng: random.Random) -> Content:
    """Whole numbers of 16 or 32 bits, with a sign or without, up to the end of their scale."""
    grey = greys(rng)
    grey.flat[0] = 255
    kind, white = rng.choice(
        [
            ("int32", 2**31 - 1),
            ("int32", 65535),
            ("int32", 255),
            ("uint32", 2**32 - 1),
            ("uint16", 65535),
            ("int16", 255),
        ]
    )
    numbers = np.round(grey / 255 * white).astype(kind)
    return Content(_tiff(rng, numbers, photometric="minisblack"), three(grey), 1, refusable=True)


@kind
def tiff_white_is_zero(rng: random.Random) -> Content:
    grey, bits = greys(rng), rng.choice(["uint8", "uint16"])
    numbers = (255 - grey).astype(bits) * (257 if bits == "uint16" else 1)
    return Content(_tiff(rng, numbers, photometric="miniswhite"), three(grey), 1, refusable=True)


@kind
def tiff_rgb(rng: random.Random) -> Content:
    full, bits = colours(rng), rng.choice(["uint8", "uint16"])
    planes = rng.random() < 0.3
    numbers = full.astype(bits) * (257 if bits == "uint16" else 1)
    if planes:
        raw = _tiff(rng, np.ascontiguousarray(numbers.transpose(2, 0, 1)), photometric="rgb", planarconfig="separate")
    else:
        raw = _tiff(rng, numbers, photometric="rgb")
    return Content(raw, full, 1, refusable=True)


# the family of PPM, by hand


@kind
def ppm(rng: random.Random) -> Content:
    full = colours(rng)
    kind = rng.choice(["P1", "P2", "P3", "P4", "P5", "P6"])
    height, width = full.shape[:2]
    said = rng.choice([b"", b"# a comment\n"])
    if kind in ("P1", "P4"):
        black = full[:, :, 0] < 128
        body = (
            np.packbits(black, axis=1).tobytes()
            if kind == "P4"
            else " ".join("01"[int(one)] for one in black.flat).encode()
        )
        return Content(b"%s\n%s%d %d\n" % (kind.encode(), said, width, height) + body, three(np.where(black, 0, 255)))
    most = rng.choice([1, 7, 255, 1000, 65535])
    levels = full if kind in ("P3", "P6") else full[:, :, 0]
    numbers = np.round(levels / 255 * most).astype(int)
    if kind in ("P2", "P3"):
        body = " ".join(map(str, numbers.ravel())).encode()
    else:
        body = numbers.astype(">u2" if most > 255 else np.uint8).tobytes()
    seen = np.round(numbers / most * 255).astype(np.uint8)
    raw = b"%s\n%s%d %d\n%d\n" % (kind.encode(), said, width, height, most) + body
    return Content(raw, seen if seen.ndim == 3 else three(seen), 1)


@kind
def pfm(rng: random.Random) -> Content:
    """Greys of floating point, lines from the bottom."""
    grey, order = greys(rng), rng.choice("<>")
    grey.flat[0] = 255
    numbers = (grey[::-1] / 255).astype(f"{order}f4")
    head = b"Pf\n%d %d\n%s\n" % (grey.shape[1], grey.shape[0], b"-1.0" if order == "<" else b"1.0")
    return Content(head + numbers.tobytes(), three(grey), 1)


# what formats have in common


@kind
def turned(rng: random.Random) -> Content:
    """As a camera holds it, with an orientation of EXIF's, some of which mean nothing."""
    upright, format = colours(rng), rng.choice(["PNG", "JPEG", "WEBP", "TIFF"])
    orientation = rng.choice([*LYING, *LYING, 0, 9, 65535])
    lying = np.ascontiguousarray(LYING.get(orientation, LYING[1])(upright))
    exif: Image.Exif | bytes = Image.Exif()
    exif[0x0112] = orientation
    if rng.random() < 0.3 and format != "TIFF":
        exif = with_orientation(orientation)
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 97, "subsampling": 0}}.get(format, {})
    raw = saved(Image.fromarray(lying), format, exif=exif, **options)
    return Content(raw, upright, **(LOSSY if format == "JPEG" else {}))


@kind
def profiled(rng: random.Random) -> Content:
    """With a profile of colours that says sRGB, a huge one, or one that is none."""
    full, format = colours(rng), rng.choice(["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    icc = rng.choice([profile, profile[:100], rng.randbytes(70), profile + bytes(500_000)])
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 97, "subsampling": 0},
               "AVIF": {"quality": 100, "subsampling": "4:4:4", "speed": 9}}.get(format, {})  # fmt: skip
    raw = saved(Image.fromarray(full), format, icc_profile=icc, **options)
    return Content(raw, full, **(LOSSY if format in ("JPEG", "AVIF") else {}))


@kind
def moving(rng: random.Random) -> Content:
    """Of many frames the first."""
    format = rng.choice(["GIF", "PNG", "WEBP", "TIFF", "MPO", "AVIF"])
    first, more = Image.fromarray(colours(rng)), rng.randint(1, 5)
    if format == "GIF":
        first = first.quantize(64)
    seen = _told(first)
    others = [Image.fromarray(colours_of(rng, *seen.shape[:2])) for _ in range(more)]
    options = {"WEBP": {"lossless": True}, "MPO": {"quality": 97, "subsampling": 0},
               "AVIF": {"quality": 100, "subsampling": "4:4:4", "speed": 9}}.get(format, {})  # fmt: skip
    raw = saved(first, format, save_all=True, append_images=others, **options)
    return Content(raw, seen, **(LOSSY if format in ("MPO", "AVIF") else {}))


SUFFIXES = ("png", "jpg", "JPEG", "webp", "gif", "tif", "bmp", "ppm", "avif")


def drawn(rng: random.Random, number: int) -> tuple[str, Content]:
    """An image of a kind, each kind in its turn, and its name's end, which may be that of another format."""
    names = list(KINDS)
    name = names[number % len(names)]
    return f"{number}-{name}.{rng.choice(SUFFIXES)}", KINDS[name](rng)
