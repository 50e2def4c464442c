"""transformers.js, as npm has it, opens an export's `web/` in a browser and says what PyTorch says."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import synthetic
from exporting import DILATED, asked, learnt
from packages import packages
from PIL import Image

from flyweight import data
from flyweight.data import Split
from flyweight.export import huggingface
from flyweight.export.subject import Subject
from flyweight.inference import confidence
from flyweight.runs.card import ZOO, load_trained

PAGE = """<!doctype html><link rel="icon" href="data:,"><script type="module">
import { env, pipeline } from "./modules/@huggingface/transformers/dist/transformers.min.js";
// its other half lies in a package of its own, and would be fetched from elsewhere
env.backends.onnx.wasm.wasmPaths = new URL("./modules/onnxruntime-web/dist/", location.href).href;
env.allowRemoteModels = false;
env.allowLocalModels = true;
env.localModelPath = "./";
window.classify = async (settings, count) => {
    const classify = await pipeline("image-classification", "web", settings);
    const said = [];
    for (let number = 0; number < count; number++)
        said.push(await classify(`images/${number}.png`, { top_k: null }));
    return said;
};
</script>"""


def in_a_browser(visit, subject, folder, count, settings):
    """(count, classes): probabilities of test images, from PNG files that the page asks its server for."""
    (folder / "index.html").write_text(PAGE)
    (folder / "modules").symlink_to(packages(), target_is_directory=True)
    (folder / "images").mkdir()
    for number, image in enumerate(subject.pixels(0, count)):
        Image.fromarray(image).save(folder / "images" / f"{number}.png")
    visited = visit(folder)
    visited.page.wait_for_function("window.classify !== undefined")
    found = []
    for one in settings:
        said = visited.page.evaluate("([settings, count]) => window.classify(settings, count)", [one, count])
        found.append(
            np.array([[{s["label"]: s["score"] for s in image}[c] for c in subject.card.classes] for image in said])
        )
    # it looks whether there is a tokenizer, and goes on without
    assert set(visited.site.missing) <= {"/web/tokenizer_config.json"}
    assert len(visited.errors) == len(visited.site.missing), visited.errors
    return found


def held(visit, subject, folder, count):
    """Hold both graphs of `web/` in the browser against PyTorch; that of 8 bits against onnxruntime in Python."""
    # the hub's libraries know of no temperature
    expected = confidence.probabilities(subject.logits[:count])
    # of a browser without a GPU the default is 8 bits
    floats, quantised = in_a_browser(visit, subject, folder, count, ({"dtype": "fp32"}, {}))
    assert (floats.argmax(1) == expected.argmax(1)).all()
    assert np.abs(floats - expected).max() < 1e-3
    logits = torch.from_numpy(asked(folder / "web/onnx/model_quantized.onnx", subject.inputs(0, count)))
    same = logits.softmax(1).numpy()
    assert (quantised.argmax(1) == same.argmax(1)).mean() >= 0.99
    # rounding meets other levels where sums are added in another order
    assert np.abs(quantised - same).max() < 0.05


@pytest.mark.early
def test_it_says_what_pytorch_says(visit, tmp_path):
    dataset = synthetic(3, 3, 16, 16, train=96, test=60)
    subject = Subject(learnt(DILATED, dataset), dataset)
    huggingface.write(subject, tmp_path)
    held(visit, subject, tmp_path, 20)


@pytest.mark.long
@pytest.mark.cifar10
@pytest.mark.parametrize("name", ["nano", "dilated"])
def test_it_says_what_pytorch_says_of_100_real_images(visit, tmp_path, name):
    try:
        dataset = data.load(download=False)
    except data.NoDataError as error:
        pytest.skip(str(error))
    # the formats are held against all test images elsewhere
    few = dataclasses.replace(dataset, test=Split(dataset.test.images[:500], dataset.test.labels[:500]))
    subject = Subject(load_trained(ZOO / name), few)
    huggingface.write(subject, tmp_path)
    held(visit, subject, tmp_path, 100)
