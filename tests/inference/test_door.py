"""The public door: load, check, analyze, predict; each is imported with nothing behind it."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import flyweight
from flyweight.errors import FlyweightError


def test_the_door_is_as_wide_as_it_says_and_opens_nothing_itself():
    code = "import sys, flyweight; print('torch' in sys.modules, *flyweight.__all__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "analyze", "check", "load", "predict"]


def test_a_network_is_analyzed_and_checked():
    network = flyweight.load("sprint")
    assert flyweight.analyze(network, (3, 32, 32)).parameters == 170_720
    assert flyweight.check(network, (3, 32, 32)).passed
    with pytest.raises(FlyweightError):
        flyweight.check(network, (3, 32, 32), "nothing")


def test_files_are_predicted(tmp_path):
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(tmp_path / "black.png")
    (tmp_path / "no.png").write_text("no image")
    known, unknown = flyweight.predict("sprint", [tmp_path / "black.png", tmp_path / "no.png"], top=2)
    assert (known.error, len(known.classes)) == (None, 2)
    assert "cannot be read" in unknown.error
