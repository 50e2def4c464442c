import io

import numpy as np
import pytest
from PIL import Image

from flyweight.errors import DataError
from flyweight.images import decode

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
    found = decode.find([tmp_path / "b", tmp_path / "a.png"])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["b/2.PNG", "b/deep/1.png", "a.png"]


def test_a_place_without_images_is_an_error(tmp_path):
    with pytest.raises(DataError, match="holds no images"):
        decode.find([tmp_path])
    with pytest.raises(DataError, match="does not exist"):
        decode.find([tmp_path / "nothing.png"])
