"""The page of a network in a real browser: what it says is what Python says, whatever it is given."""

import base64
import dataclasses
import io

import numpy as np
import pytest
import torch
from conftest import synthetic
from exporting import DILATED, learnt
from PIL import Image

from flyweight import data
from flyweight.data import Split
from flyweight.export import demo
from flyweight.export.subject import Subject
from flyweight.images import decode
from flyweight.inference.classifier import Classifier
from flyweight.runs.card import ZOO, load_trained

CLASSIFY = """files => Promise.all(files.map(async text => {
    const { probabilities, order, pixels, none } = await window.flyweight.classify(
        Uint8Array.from(atob(text), letter => letter.charCodeAt(0)));
    return { probabilities, best: order[0], pixels: Array.from(pixels), none };
}))"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with the page of a network that knows its classes, and the network."""
    dataset = synthetic(4, 3, 16, 16, train=96, test=200)
    subject = Subject(learnt(DILATED, dataset), dataset)
    folder = tmp_path_factory.mktemp("page")
    demo.write(subject, folder)
    return folder, subject


def content(image, kind="PNG", **options):
    """The bytes of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def asked(page, files):
    return page.evaluate(CLASSIFY, [base64.b64encode(file).decode() for file in files])


def expected(subject, files):
    """What Python says of files: pixels and probabilities."""
    card = subject.card
    pixels = np.stack([decode.decode(file, card.input_shape, card.resize) for file in files])
    classify = Classifier(subject.trained.model, card.input_shape, card.mean, card.std, "float32")
    return pixels, torch.softmax(classify(pixels) / card.temperature, 1).numpy()


def held(page, subject, files, levels=0, share=1e-3):
    """Hold the page against Python: grey levels that pixels may differ by, and probabilities."""
    found = asked(page, files)
    pixels, probabilities = expected(subject, files)
    ours = np.array([one["pixels"] for one in found]).reshape(pixels.shape)
    assert np.abs(ours - pixels.astype(int)).max() <= levels
    assert np.abs(np.array([one["probabilities"] for one in found]) - probabilities).max() < share
    assert [one["best"] for one in found] == probabilities.argmax(1).tolist()


def photograph(width, height):
    """Smooth colours with an edge, like none of the classes."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 127 + 120 * np.sin(x / width * 9), 127 + 120 * np.cos(y / height * 7)
    blue = np.where(x > width * 0.7, 220, 40)
    return Image.fromarray(np.stack([red, green, blue], -1).astype(np.uint8))


def test_200_images_get_pythons_class_and_probabilities(visit, made):
    folder, subject = made
    visited = visit(folder)
    held(visited.page, subject, [content(Image.fromarray(image)) for image in subject.pixels(0, 200)])
    assert visited.site.requests == ["/"]
    assert visited.errors == []


@pytest.mark.early
@pytest.mark.cifar10
@pytest.mark.parametrize("name", [pytest.param("nano"), pytest.param("dilated", marks=pytest.mark.long)])
def test_200_real_images_get_pythons_class_and_probabilities(visit, tmp_path, name):
    try:
        dataset = data.load(download=False)
    except data.NoDataError as error:
        pytest.skip(str(error))
    few = dataclasses.replace(dataset, test=Split(dataset.test.images[:200], dataset.test.labels[:200]))
    subject = Subject(load_trained(ZOO / name), few)
    demo.write(subject, tmp_path)
    assert (tmp_path / demo.FILE).stat().st_size < 1_000_000
    visited = visit(tmp_path)
    held(visited.page, subject, [content(Image.fromarray(image)) for image in subject.pixels(0, 200)])


def test_files_of_all_sorts_become_what_python_makes_of_them(visit, made):
    folder, subject = made
    page = visit(folder).page
    clear = photograph(400, 300).convert("RGBA")
    clear.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 400).astype(np.uint8), (300, 1))))
    palette = photograph(90, 200).quantize(17)
    rotated = Image.Exif()
    rotated[0x0112] = 6
    exact = [content(photograph(300, 200)), content(photograph(20, 900).convert("L")), content(palette)]
    exact.append(content(photograph(2000, 1500), compress_level=1))
    held(page, subject, exact)
    # a canvas keeps colours times alpha in 8 bits
    held(page, subject, [content(clear)], levels=1, share=0.02)
    # two decoders of JPEG
    turned = content(photograph(640, 480), "JPEG", quality=95, exif=rotated)
    upright = content(photograph(640, 480), "JPEG", quality=95)
    held(page, subject, [turned, upright], levels=3, share=0.02)
    one, other = (decode.decode(file, (3, 16, 16), "crop") for file in (turned, upright))
    assert np.abs(one.astype(int) - other).max() > 50  # or the turn would not be seen


def test_a_large_photograph(visit, made):
    folder, subject = made
    page = visit(folder).page
    file = content(photograph(4000, 3000), "JPEG", quality=90)
    # Python decodes it at an eighth of its size, which a browser cannot
    held(page, subject, [file], levels=6, share=0.05)


def test_what_a_person_does(visit, made, tmp_path):
    folder, subject = made
    visited = visit(folder / demo.FILE)  # from disk
    page = visited.page
    verdict, problem = page.locator("#verdict"), page.locator("#problem")
    names = subject.card.classes

    def says(place):
        page.locator("#verdict", has_text=names[int(subject.logits[place].argmax())]).wait_for()

    says(0)  # the first sample is there from the start
    file = tmp_path / "mine.png"
    file.write_bytes(content(Image.fromarray(subject.pixels(1, 2)[0])))
    page.locator("#file").set_input_files(file)
    says(1)
    assert page.get_by_role("status").text_content().startswith(f"mine.png: {names[1]} ")
    # with the keyboard: the third sample, then the map of another class
    page.locator("[data-sample='4']").focus()
    page.keyboard.press("Enter")
    says(2)
    assert page.locator("#aside").text_content() == "That is right."
    page.locator("#bars button").nth(1).press("Space")
    assert page.locator("#bars button").nth(1).get_attribute("aria-pressed") == "true"
    assert "speaks for" in page.locator("#looking").text_content()
    assert page.locator("#bars button").count() == 4
    # text that is called an image, nothing at all, and half an image
    for name, file_content, words in [
        ("text.png", b"not a picture\n", "text.png holds text and is no image. Choose a PNG"),
        ("none.png", b"", "none.png is empty."),
        ("half.png", content(photograph(300, 300))[:80], "half.png cannot be opened as an image: it is damaged"),
    ]:
        (tmp_path / name).write_bytes(file_content)
        page.locator("#file").set_input_files(tmp_path / name)
        page.locator("#problem", has_text=words).wait_for()
        assert verdict.text_content() == names[2]
    page.locator("[data-sample='0']").click()
    says(0)
    assert problem.is_hidden()
    assert [error for error in visited.errors if "decode" not in error] == []


GIVEN = """([text, kind]) => {
    const data = new DataTransfer();
    const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
    data.items.add(new File([bytes], "given.png", { type: "image/png" }));
    const options = { bubbles: true, cancelable: true };
    window.dispatchEvent(kind === "drop" ? new DragEvent("drop", { ...options, dataTransfer: data })
        : new ClipboardEvent("paste", { ...options, clipboardData: data }));
}"""
COPY = """async text => {
    const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
    await navigator.clipboard.write([new ClipboardItem({ "image/png": new Blob([bytes], { type: "image/png" }) })]);
}"""


def test_a_drop_and_a_real_paste(visit, made):
    folder, subject = made
    page = visit(folder, permissions=["clipboard-read", "clipboard-write"]).page
    images = [base64.b64encode(content(Image.fromarray(image))).decode() for image in subject.pixels(0, 4)]
    names = [subject.card.classes[label] for label in subject.logits[:4].argmax(1)]
    page.evaluate(GIVEN, [images[1], "drop"])
    page.locator("#status", has_text=f"given.png: {names[1]} ").wait_for()
    page.evaluate(COPY, images[2])
    page.keyboard.press("Control+V")
    page.locator("#status", has_text=f"The pasted image: {names[2]} ").wait_for()
    page.evaluate("navigator.clipboard.writeText('words')")
    page.keyboard.press("Control+V")
    page.locator("#problem", has_text="There is no image in what was pasted.").wait_for()


def test_none_of_my_classes_below_the_threshold(visit, tmp_path):
    dataset = synthetic(4, 3, 16, 16)
    made = learnt(DILATED, dataset)
    card = dataclasses.replace(made.card, temperature=2.0, threshold=0.9)
    subject = Subject(dataclasses.replace(made, card=card), dataset)
    demo.write(subject, tmp_path)
    visited = visit(tmp_path, viewport={"width": 390, "height": 844}, color_scheme="dark")
    files = [content(photograph(64, 64)), content(Image.fromarray(subject.pixels(0, 1)[0]))]
    held(visited.page, subject, files)
    _, probabilities = expected(subject, files)
    assert [one["none"] for one in asked(visited.page, files)] == (probabilities.max(1) < 0.9).tolist()
    assert visited.page.evaluate("document.documentElement.scrollWidth") == 390
