"""A small one of all that flyweight writes: a run folder, a cache, a zoo folder, an export of each format, a search."""

from __future__ import annotations

import shutil
from contextlib import chdir
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flyweight.cli.app import run_command
from flyweight.runs.card import ZOO

RECIPE = """\
name: small
data: {name: folder, path: photos}
model:
  network: small
  table: {blocks: [[{width: 8}, {width: 8, stride: 2, kind: separable}]]}
augment: {flip: 0.5}
rules: null
train: {epochs: 2, batch_size: 8, workers: 0, precision: float32, keep: 2, learning_rate: 0.05}
"""
RULES = """
title: small
blocks: [c1]
rules:
  - {name: light, kind: parameters_below, limit: 4000}
"""
SPACE = "{blocks: [1], rows: [1, 2], widths: [4, 6], kernels: [3]}\n"
SEARCH = (
    "search", "rules.yaml", "--data", "photos", "--space", "space.yaml", "--recipe", "small.yaml", "--trials", "2",
    "--epochs", "1", "--lengths", "1", "--hold-out", "6", "--out", "search",
)  # fmt: skip
FORMATS = ("onnx", "onnx-uint8", "ultralytics", "onnx-int8", "c", "demo", "huggingface")


class Given:
    """Each part is made when it is first asked for, and copied to where it is to be damaged.

    Args:
        folder: a new one, where they are made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for number in range(30):
            colour = ("blue", "green", "red")[number % 3]
            place = folder / "photos" / ("test" if number % 5 == 4 else "train") / colour
            place.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 200, (16, 16, 3), dtype=np.uint8)
            pixels[..., 2 - number % 3] |= 0x80
            Image.fromarray(pixels).save(place / f"{number}.png")
        for name, text in (("small.yaml", RECIPE), ("rules.yaml", RULES), ("space.yaml", SPACE)):
            (folder / name).write_text(text)

    def _call(self, *call: str) -> None:
        with chdir(self.folder), pytest.MonkeyPatch.context() as patch:
            patch.setenv("FLYWEIGHT_CACHE", str(self.folder / "cache"))
            assert run_command(list(call)) == 0, call

    @cached_property
    def run(self) -> Path:
        """A run folder whose training has ended."""
        self._call("train", "small.yaml", "--out", "run", "--no-report")
        return self.folder / "run"

    @cached_property
    def broken_off(self) -> Path:
        """A run whose training ended after the first of its two epochs."""
        shutil.copytree(self.run, self.folder / "broken-off")
        folder = self.folder / "broken-off"
        for name in ("model.safetensors", "config.json", "checkpoints/epoch-0002-step-000000.pt"):
            (folder / name).unlink()
        return folder

    @cached_property
    def zoo(self) -> Path:
        """A network that ships."""
        shutil.copytree(ZOO / "nano", self.folder / "zoo")
        return self.folder / "zoo"

    @cached_property
    def export(self) -> Path:
        """An export in all formats."""
        _ = self.run
        self._call("export", "run", "--to", "export", "--format", *FORMATS)
        return self.folder / "export"

    @cached_property
    def search(self) -> Path:
        """The folder of a search that has ended."""
        self._call(*SEARCH)
        return self.folder / "search"
