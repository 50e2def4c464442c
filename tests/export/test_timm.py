"""An export as timm opens it."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import numpy as np
import pytest
from conftest import synthetic
from exporting import DILATED, EVERY, NORM_LAST, described, learnt
from test_house import MODULES, imports

import flyweight
from flyweight.export import for_timm, huggingface
from flyweight.export.subject import Subject
from flyweight.runs.card import ZOO, load_trained

# the pair that lies on the disk of the machine that this was written on; any pair that fits together does
PACKAGES = ("torch==2.14.1", "torchvision==0.29.1", "timm==1.0.31")


def test_the_card_says_what_timm_looks_for(tmp_path):
    dataset = synthetic(3, 3, 16, 16)
    subject = Subject(learnt(NORM_LAST, dataset), dataset)
    huggingface.weights(subject, tmp_path)
    told = json.loads((tmp_path / "config.json").read_text())
    assert (told["architecture"], told["num_classes"], told["num_features"]) == ("flyweight_table", 3, 12)
    assert told["model_args"]["table"]["blocks"][0][1]["stride"] == 2
    assert told["label_names"] == ["class 0", "class 1", "class 2"]
    looks = told["pretrained_cfg"]
    assert (looks["input_size"], looks["first_conv"], looks["classifier"]) == ([3, 16, 16], "c1.conv1.0", "classifier")
    # our own reader has no use for them
    assert load_trained(tmp_path).card.table == subject.card.table


def test_those_that_ship_are_called_by_their_names():
    for folder in (ZOO / "nano", ZOO / "course-tuned"):
        trained = load_trained(folder)
        told = for_timm.config(trained.card, trained.model)
        assert told["architecture"] == f"flyweight_{trained.card.network}"
        assert told["model_args"] == ({} if trained.card.dropout is None else {"drop_rate": trained.card.dropout})


def test_a_class_of_the_users_own_is_not_promised():
    from torch import nn

    card = described(None, synthetic(3, 3, 16, 16), network="net.py:Own")
    assert for_timm.config(card, nn.Sequential(nn.Conv2d(3, 3, 3))) == {}


def test_flyweight_itself_needs_no_timm():
    assert [name for name in MODULES if "flyweight.timm" in imports(name)] == []


@pytest.fixture(scope="module")
def python():
    """An interpreter that has timm: FLYWEIGHT_TIMM names one; else an environment is made, 5.5 GB, and removed."""
    if named := os.environ.get("FLYWEIGHT_TIMM"):
        yield Path(named)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "environment"
        if shutil.disk_usage(name).free < 12 * 2**30:
            pytest.skip("NO TIMM: its environment with torchvision needs 12 GiB of disk")
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        found = folder / "bin" / "python"
        done = subprocess.run(
            [found, "-m", "pip", "install", "-q", *PACKAGES], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"NO TIMM: its environment cannot be made: {done.stderr.strip().splitlines()[-1]}")
        # all else that flyweight needs is here already
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "ours.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        yield found


@pytest.mark.long
def test_timm_says_what_pytorch_says(python, tmp_path):
    tables = {"dilated rows": DILATED, "rows of every kind": EVERY, "norm last": NORM_LAST}
    subjects = {
        name: Subject(learnt(rows, dataset), dataset)
        for name, rows in tables.items()
        for dataset in [synthetic(3, 3, 16, 16, train=96, test=30)]
    }
    grey = synthetic(5, 1, 16, 16, train=100, test=30)
    subjects["grey"] = Subject(learnt(DILATED, grey), grey)
    for name in sorted(path.name for path in ZOO.iterdir() if path.is_dir()):
        trained = load_trained(ZOO / name)
        images = np.random.default_rng(0).normal(size=(30, *trained.card.input_shape)).astype(np.float32)
        import torch

        with torch.inference_mode():
            logits = trained.model(torch.from_numpy(images)).numpy()
        shutil.copytree(ZOO / name, tmp_path / name)
        told = json.loads((tmp_path / name / "config.json").read_text())
        (tmp_path / name / "config.json").write_text(json.dumps(for_timm.config(trained.card, trained.model) | told))
        np.savez(tmp_path / name / "asked.npz", inputs=images, logits=logits)
    for name, subject in subjects.items():
        (tmp_path / name).mkdir()
        huggingface.weights(subject, tmp_path / name)
        np.savez(tmp_path / name / "asked.npz", inputs=subject.inputs(0, 30), logits=subject.logits[:30])
    done = subprocess.run(
        [python, Path(__file__).with_name("timm_asked.py"), tmp_path],
        env={**os.environ, "PYTHONPATH": str(Path(flyweight.__file__).parents[1])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(done.stdout.splitlines()) == len(list(tmp_path.iterdir()))
