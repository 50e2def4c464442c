import io
import os
import struct
import subprocess
import sys
import tempfile
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from handmade import GREY, LYING, RGB, chunk, png, png_head, with_orientation
from PIL import Image, ImageFile, ImageOps, PngImagePlugin, features

from flyweight.errors import DataError
from flyweight.images import decode, finding, sizing

SHAPE = (3, 32, 32)


def colours(height=32, width=32):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def test_an_image_of_the_right_size_is_taken_as_it_is(tmp_path):
    pixels = colours()
    assert (decode.read(save(tmp_path / "a.png", pixels), SHAPE) == pixels).all()


def test_another_size_is_cut_about_its_centre_and_resized(tmp_path):
    pixels = np.zeros((64, 192, 3), np.uint8)
    pixels[:, 64:128] = (200, 100, 50)
    result = decode.read(save(tmp_path / "a.png", pixels), SHAPE)
    assert result.shape == (32, 32, 3)
    # the outermost pixels have seen a little of what was cut away
    assert np.abs(result[:, 2:-2].astype(int) - (200, 100, 50)).max() <= 1
    assert result.min() > 40


def test_a_photo_is_turned_as_its_camera_says(tmp_path):
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:16] = 255  # bright above
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: turn it clockwise, and what was above is on the right
    result = decode.read(save(tmp_path / "a.jpg", pixels, exif=exif, quality=95), SHAPE)
    assert result[:, 20:].mean() > 200 > 50 > result[:, :12].mean()


def test_sixteen_bits_do_not_turn_white(tmp_path):
    grey = (np.arange(32 * 32, dtype=np.uint16) * 60).reshape(32, 32)
    result = decode.read(save(tmp_path / "a.png", grey), SHAPE)
    assert np.abs(result[..., 0].astype(int) - (grey >> 8)).max() <= 1


def test_what_is_transparent_is_white(tmp_path):
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[:16, :, 3] = 255
    result = decode.read(save(tmp_path / "a.png", pixels), SHAPE)
    assert (result[:16] == 0).all()
    assert (result[16:] == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "LA", "I", "F", "YCbCr"])
def test_every_mode_becomes_what_the_network_takes(tmp_path, mode):
    path = tmp_path / "a.tif"
    Image.fromarray(colours()).convert("L" if mode in "IF" else "RGB").convert(mode).save(path)
    for channels in (1, 3):
        result = decode.read(path, (channels, 32, 32))
        assert (result.shape, result.dtype) == ((32, 32, channels), np.uint8)
        assert result.std() > 10


def test_greys_of_floating_point_are_shares_of_white(tmp_path):
    path = tmp_path / "a.tif"
    ramp = np.linspace(0, 1, 32, dtype=np.float32)[None].repeat(32, 0)
    Image.fromarray(ramp).save(path)
    assert (decode.read(path, (1, 32, 32))[..., 0] == (ramp * 255).astype(np.uint8)).all()


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_one_pixel_that_is_no_number_changes_no_other(tmp_path, odd):
    ramp = np.linspace(0, 1, 32, dtype=np.float32)[None].repeat(32, 0)
    ramp[3, 5] = odd
    Image.fromarray(ramp).save(tmp_path / "a.tif")
    expected = (np.nan_to_num(np.clip(ramp, 0, 1)) * 255).astype(np.uint8)
    assert (decode.read(tmp_path / "a.tif", (1, 32, 32))[..., 0] == expected).all()


@pytest.mark.parametrize("white", [255, 65535, 2**31 - 1])
def test_greys_of_32_bits_have_the_narrowest_scale_that_holds_them(tmp_path, white):
    ramp = np.linspace(0, white, 32).astype(np.int32)[None].repeat(32, 0)
    Image.fromarray(ramp).save(tmp_path / "a.tif")
    seen = decode.read(tmp_path / "a.tif", (1, 32, 32))[0, :, 0].astype(int)
    assert np.abs(seen - np.linspace(0, 255, 32)).max() <= 1


def test_a_transparent_grey_of_16_bits_is_white(tmp_path):
    grey = (np.arange(32 * 32, dtype=np.uint16) * 60).reshape(32, 32)
    Image.fromarray(grey).save(tmp_path / "a.png", transparency=int(grey[4, 4]))
    seen = decode.read(tmp_path / "a.png", (1, 32, 32))[..., 0]
    assert seen[4, 4] == 255
    assert (np.delete(seen.ravel(), 4 * 32 + 4) == np.delete((grey >> 8).ravel(), 4 * 32 + 4)).all()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_transparent_grey_of_few_bits_is_white(bits):
    samples = np.arange(32 * 32).reshape(32, 32) % 2**bits
    raw = png(samples[:, :, None], bits, GREY, [chunk(b"tRNS", struct.pack(">H", 1))])
    expected = np.where(samples == 1, 255, samples * 255 // (2**bits - 1))
    assert (decode.decode(raw, (1, 32, 32), "squash")[..., 0] == expected).all()


def test_a_transparent_colour_of_16_bits_is_white():
    pixels = colours()
    deep = pixels.astype(int) * 256 + 7
    raw = png(deep, 16, RGB, [chunk(b"tRNS", struct.pack(">HHH", *deep[3, 5]))])
    pixels[3, 5] = 255
    assert (decode.decode(raw, SHAPE, "squash") == pixels).all()


def tiff(numbers, **options):
    raw = io.BytesIO()
    tifffile.imwrite(raw, numbers, metadata=None, **options)
    return raw.getvalue()


RAMP = np.arange(256).reshape(16, 16)


@pytest.mark.parametrize(
    ("numbers", "options"),
    [
        # libtiff gives these in the machine's order, and Pillow would turn them about once more
        ((RAMP / 255).astype(">f4"), {"byteorder": ">", "compression": "zlib"}),
        ((RAMP * 8421504).astype(">i4"), {"byteorder": ">", "compression": "zlib"}),
        (RAMP.astype(">i2"), {"byteorder": ">", "compression": "zlib"}),
        ((RAMP * 16843009).astype("<u4"), {}),
        (((255 - RAMP) * 257).astype("<u2"), {"photometric": "miniswhite"}),
    ],
    ids=["floats", "32 bits", "16 bits with a sign", "32 bits without a sign", "white is zero"],
)
def test_greys_of_a_tiff_are_what_they_are(numbers, options):
    raw = tiff(numbers, **({"photometric": "minisblack"} | options))
    seen = decode.decode(raw, (1, 16, 16), "squash")[..., 0].astype(int)
    assert np.abs(seen - RAMP).max() <= 1


def test_what_libtiff_says_of_a_damaged_file_goes_to_no_terminal(capfd):
    raw = io.BytesIO()
    Image.fromarray(colours()).save(raw, "TIFF", compression="tiff_lzw")
    content = bytearray(raw.getvalue())
    content[60:2000] = bytes(1940)
    with pytest.raises(ValueError, match="decoder error"):
        decode.decode(bytes(content), SHAPE, "squash")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("order", ["<", ">"])
def test_colours_of_16_bits_in_planes_are_what_they_are(order):
    planes = np.ascontiguousarray(colours().transpose(2, 0, 1)).astype(f"{order}u2") * 257
    raw = tiff(planes.astype(f"{order}u2"), byteorder=order, photometric="rgb", planarconfig="separate")
    assert (decode.decode(raw, SHAPE, "squash") == colours()).all()


def test_a_dark_grey_of_16_bits_stays_dark():
    raw = b"P5 32 32 65535\n" + np.full((32, 32), 200, ">u2").tobytes()
    assert (decode.decode(raw, (1, 32, 32), "squash") == 0).all()


def test_a_network_of_grey_images_gets_grey(tmp_path):
    pixels = colours()
    grey = np.array(Image.fromarray(pixels).convert("L"))
    assert (decode.read(save(tmp_path / "a.png", pixels), (1, 32, 32))[..., 0] == grey).all()


def test_a_file_that_was_cut_off_is_refused(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(colours(256, 256)).save(buffer, "JPEG")
    for name, content in (("cut.jpg", buffer.getvalue()[:4000]), ("empty.png", b""), ("text.png", b"hello")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name} cannot be read as an image") as caught:
            decode.read(tmp_path / name, SHAPE)
        assert len(str(caught.value).splitlines()) == 1


def test_no_image_file_has_five_channels(tmp_path):
    with pytest.raises(DataError, match="takes 5 channels"):
        decode.read(save(tmp_path / "a.png", colours()), (5, 32, 32))


def test_folders_give_their_images_in_order(tmp_path):
    (tmp_path / "b" / "deep").mkdir(parents=True)
    for name in ("b/2.PNG", "b/deep/1.png", "a.png"):
        (tmp_path / name).touch()
    (tmp_path / "b" / "notes.txt").touch()
    (tmp_path / "b" / "gone.png").symlink_to("nowhere")
    found = finding.find([tmp_path / "b", tmp_path / "a.png"])
    assert [path.relative_to(tmp_path).as_posix() for path in found.images] == [
        "b/2.PNG",
        "b/deep/1.png",
        "b/gone.png",
        "a.png",
    ]
    assert [path.relative_to(tmp_path).as_posix() for path in found.others] == ["b/notes.txt"]


def test_a_place_without_images_is_an_error(tmp_path):
    with pytest.raises(DataError, match="holds no images"):
        finding.find([tmp_path])
    with pytest.raises(DataError, match="does not exist"):
        finding.find([tmp_path / "nothing.png"])


def test_a_folder_that_cannot_be_looked_into_is_told_and_the_others_are():
    with tempfile.TemporaryDirectory() as folder:
        place, shut = Path(folder), Path(folder, "shut")
        place.chmod(0o755)
        (place / "a.png").touch()
        shut.mkdir(mode=0)
        root = os.geteuid() == 0
        if root:  # whom no folder is shut to
            os.seteuid(65534)
        try:
            found = finding.find([place])
            with pytest.raises(DataError, match="shut cannot be looked into: Permission denied"):
                finding.find([shut])
        finally:
            if root:
                os.seteuid(0)
    assert [path.name for path in found.images] == ["a.png"]
    assert found.closed == ((shut, f"{shut} cannot be looked into: Permission denied"),)


@pytest.mark.parametrize("orientation", LYING)
@pytest.mark.parametrize("suffix", ["png", "webp", "tif", "jpg"])
def test_all_orientations_give_the_upright_image(tmp_path, orientation, suffix):
    upright = colours(24, 40)
    path = tmp_path / f"a.{suffix}"
    lossless = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}.get(suffix, {})
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(LYING[orientation](upright))).save(path, exif=exif, **lossless)
    found = decode.header(path)
    assert (found.height, found.width) == (24, 40)
    result = decode.read(path, (3, 24, 40)).astype(int)
    assert np.abs(result - upright).max() <= (8 if suffix == "jpg" else 0)


@pytest.mark.parametrize(
    "exif",
    [
        with_orientation(0),
        with_orientation(9),
        with_orientation(6, kind=2),
        with_orientation(6)[:20],
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*" + bytes(range(64)),
        b"Exif\0\0",
        b"Exif\0\0" + b"\xff" * 500,
    ],
)
def test_damaged_exif_costs_no_image(exif):
    raw = io.BytesIO()
    Image.fromarray(colours()).save(raw, "PNG")
    plain = decode.decode(raw.getvalue(), SHAPE, "squash")
    for kind in ("PNG", "JPEG", "WEBP"):
        damaged = io.BytesIO()
        Image.fromarray(colours()).save(damaged, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
        result = decode.decode(damaged.getvalue(), SHAPE, "squash")
        assert kind == "JPEG" or (result == plain).all()
        assert (decode.header(damaged.getvalue()).width, result.shape) == (32, (32, 32, 3))


def test_exif_that_pillow_fails_over_still_turns_the_image():
    """`ImageOps.exif_transpose` writes the other tags anew, and raises where one of them is not what it must be."""
    text_for_a_number = struct.pack("<HHI", 0x0100, 2, 4) + b"abc\0"
    orientation = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + text_for_a_number + orientation + b"\0\0\0\0"
    raw = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(np.rot90(colours()))).save(raw, "PNG", exif=exif)
    with pytest.raises(struct.error):
        ImageOps.exif_transpose(Image.open(raw))
    assert (decode.decode(raw.getvalue(), SHAPE, "squash") == colours()).all()


@pytest.mark.parametrize("size", [(32, 32), (64, 48), (48, 64), (33, 31), (200, 20), (7, 5)])
def test_the_three_ways_to_one_size(size):
    image = Image.fromarray(colours(size[1], size[0]))
    raw = io.BytesIO()
    image.save(raw, "PNG")
    bicubic = Image.Resampling.BICUBIC
    expected = {
        "squash": image.resize((24, 32), bicubic),
        "crop": ImageOps.fit(image, (24, 32), bicubic),
        "pad": ImageOps.pad(image, (24, 32), bicubic, color=(sizing.GREY,) * 3),
    }
    for resize, wanted in expected.items():
        assert (decode.decode(raw.getvalue(), (3, 32, 24), resize) == np.array(wanted)).all(), resize
        assert (decode.fitted(np.array(image), (3, 32, 24), resize) == np.array(wanted)).all(), resize


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (2, 999)])
@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_a_line_of_pixels_is_an_image_too(size, resize):
    raw = io.BytesIO()
    Image.new("RGB", size, (200, 10, 10)).save(raw, "PNG")
    result = decode.decode(raw.getvalue(), SHAPE, resize)
    assert (result.reshape(-1, 3) == (200, 10, 10)).all(1).sum() >= 16


def test_a_print_shop_s_jpeg_is_no_negative(tmp_path):
    pixels = np.full((32, 32, 3), (200, 30, 30), np.uint8)
    path = tmp_path / "a.jpg"
    Image.fromarray(pixels).convert("CMYK").save(path, quality=95)
    assert decode.header(path) == decode.Header(32, 32, False, "JPEG")
    assert np.abs(decode.read(path, SHAPE).astype(int) - pixels).max() < 12


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_looked_at_as_greys(kind):
    grey = (np.arange(32 * 32, dtype=np.uint16) * 60).reshape(32, 32)
    raw = io.BytesIO()
    Image.fromarray(grey).save(raw, kind)
    assert decode.header(raw.getvalue()).grey
    assert np.abs(decode.decode(raw.getvalue(), (1, 32, 32), "squash")[..., 0].astype(int) - (grey >> 8)).max() <= 1


def animated(kind, **options):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "lime", "blue")]
    raw = io.BytesIO()
    frames[0].save(raw, kind, save_all=True, append_images=frames[1:], **options)
    return raw.getvalue()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "MPO", "AVIF"])
def test_of_many_frames_the_first(kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    raw = animated(kind)
    result = decode.decode(raw, SHAPE, "squash").astype(int)
    assert np.abs(result - (255, 0, 0)).max() <= 6
    assert decode.header(raw).width == 32


def test_a_name_says_nothing_of_a_format(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(colours()).save(path, "PNG")
    assert decode.header(path).format == "PNG"
    assert (decode.read(path, SHAPE) == colours()).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF"])
def test_cut_off_anywhere_it_is_refused(kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    whole = io.BytesIO()
    Image.fromarray(colours(48, 48)).save(whole, kind)
    raw = whole.getvalue()
    for share in (0.0, 0.01, 0.1, 0.5, 0.9):
        with pytest.raises(ValueError, match=r"^.{4,200}$"):
            decode.decode(raw[: int(share * len(raw))], SHAPE, "squash")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "it is empty"), (b"hello", "it is no image"), (b"\x89PNG\r\n\x1a\n", ".+"), (b"\xff\xd8\xff", ".+")],
)
def test_why_a_file_is_no_image(tmp_path, content, reason):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for look in (decode.header, lambda source: decode.decode(source, SHAPE, "squash")):
        for source in (path, content):
            with pytest.raises(ValueError, match=f"^{reason}$"):
                look(source)


def test_formats_that_are_programs_are_no_images():
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(ValueError, match="^it is no image$"):
        decode.header(postscript)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.timeout(20)
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DataError, match="it is not a regular file"):
        decode.read(tmp_path / "a.png", SHAPE)


@pytest.mark.parametrize("side", [7_100, 30_000, 2_000_000])
def test_a_huge_image_is_refused_before_it_is_decoded(side):
    tracemalloc.start()
    raw = png_head(side, side)
    with pytest.raises(ValueError, match="pixels: shrink it below 50 megapixels"):
        decode.decode(raw, SHAPE, "squash")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * 2**20
    if side < 10_000:  # above, Pillow refuses to look at it
        assert decode.header(raw).width == side


def test_nothing_that_pillow_warns_of_is_told_past_us():
    """Above 89 million pixels it warns, above 179 million it refuses."""
    raw = png_head(9_900, 9_900)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with pytest.raises(ValueError, match="^it has 9900x9900 pixels: shrink it below 50 megapixels$"):
            decode.decode(raw, SHAPE, "squash")
        assert decode.header(raw).width == 9_900
    assert [str(warning.message) for warning in told] == []


@pytest.mark.parametrize(("kind", "side"), [("WEBP", 5100), ("AVIF", 5100)])
def test_what_takes_more_memory_may_have_fewer_pixels(monkeypatch, kind, side):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("it was decoded"))
    raw = io.BytesIO()
    Image.new("L", (side, side)).save(raw, kind, quality=0, **({"method": 0} if kind == "WEBP" else {"speed": 10}))
    with pytest.raises(ValueError, match=f"^it has 5100x5100 pixels: shrink it below 25 megapixels as {kind}, which"):
        decode.decode(raw.getvalue(), SHAPE, "squash")


def jpeg_head(side, **options):
    """A JPEG that says it has so many pixels a side, and has fewer."""
    raw = io.BytesIO()
    Image.new("RGB", (32, 32)).save(raw, "JPEG", **options)
    content = bytearray(raw.getvalue())
    place = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
    content[place + 5 : place + 9] = struct.pack(">HH", side, side)
    return bytes(content)


def test_a_large_jpeg_of_several_scans_is_refused_before_it_is_decoded():
    one_colour_a_scan = bytearray(jpeg_head(8000))
    place = one_colour_a_scan.find(b"\xff\xda")
    one_colour_a_scan[place : place + 14] = b"\xff\xda\0\x08\1" + one_colour_a_scan[place + 5 : place + 7] + b"\0\x3f\0"
    for raw in (jpeg_head(8000, progressive=True), bytes(one_colour_a_scan)):
        with pytest.raises(ValueError, match="^it has 8000x8000 pixels: shrink it below 50 megapixels$"):
            decode.decode(raw, SHAPE, "squash")
    assert decode.decode(jpeg_head(8000), SHAPE, "squash").shape == (32, 32, 3)


MEASURED = """
import io, resource, sys
import numpy as np
from PIL import Image
from flyweight.images import decode
side, kind = 4000, sys.argv[1]
raw = io.BytesIO()
numbers = np.zeros((side, side), np.float32) if kind == "F" else np.zeros((side, side, 2), np.uint8)
Image.fromarray(numbers).save(raw, "TIFF", compression="tiff_lzw")
del numbers
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
Image.open(io.BytesIO(raw.getvalue())).load()
before = peak()
decode.decode(raw.getvalue(), (3, 32, 32), "crop")
print((peak() - before) / side**2 * 1024)
"""


@pytest.mark.parametrize("kind", ["F", "LA"])
def test_an_image_is_worked_on_without_copies_of_it(kind):
    call = [sys.executable, "-c", MEASURED, kind]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 8  # bytes a pixel beyond those of Pillow's own decoding


def test_a_header_is_read_without_the_pixels(monkeypatch):
    def load(image):
        raise AssertionError("it was decoded")

    contents = {}
    for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"):
        file = io.BytesIO()
        Image.fromarray(colours(30, 50)).save(file, kind)
        contents[kind] = file.getvalue()
    for plugin in (ImageFile.ImageFile, PngImagePlugin.PngImageFile):
        monkeypatch.setattr(plugin, "load", load)
    for kind, raw in contents.items():
        assert decode.header(raw) == decode.Header(50, 30, False, kind)


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size():
    raw = io.BytesIO()
    width = 9000
    Image.new("L", (width, decode.MOST_PIXELS // width + 400), 77).save(raw, "JPEG")
    assert (decode.decode(raw.getvalue(), (1, 32, 32), "crop") == 77).all()


def test_a_phones_file_with_a_second_image_is_decoded_line_by_line_too(tmp_path):
    image = Image.fromarray(np.zeros((6000, 9000), np.uint8)).convert("RGB")
    image.save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[image.resize((90, 60))])
    with Image.open(tmp_path / "phone.jpg") as opened:
        assert opened.format == "MPO"
    assert decode.decode(tmp_path / "phone.jpg", (3, 32, 32), "crop").shape == (32, 32, 3)
