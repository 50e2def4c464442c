"""What several test modules need."""

import contextlib
import signal
import socket
from dataclasses import replace

import numpy as np
import pytest
import torch
from exports import sprint_export  # noqa: F401 (fixture)
from kit import browser, visit  # noqa: F401 (fixtures)
from together_job import TABLE
from torch import nn

from flyweight import schema
from flyweight.data import Dataset, Split
from flyweight.data.dataset import assemble
from flyweight.networks.build import build
from flyweight.recipes import sections
from flyweight.runs.folder import Run
from flyweight.training import loop


@pytest.fixture(scope="session", autouse=True)
def own_settings(tmp_path_factory):
    """No test reads or writes what the user has allowed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("settings")))
        yield


@pytest.fixture
def without_nohup():
    """Of tests run with nohup, or in the background of a shell, all that they begin would ignore these signals."""
    ours = {signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in ours.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def pytest_collection_modifyitems(config, items):
    """Where several processes run the tests, the longest come first: at the end none is left to one process alone."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("early") is None)


class Silent:
    """An observer that keeps what it is told."""

    def __init__(self):
        self.lines, self.notes, self.steps = [], [], []
        self.on_step = None

    def start(self, epoch, epochs, step, steps, images):
        self.epoch_number = epoch

    def step(self, step, loss):
        self.steps.append((self.epoch_number, step))
        if self.on_step:
            self.on_step(self.epoch_number, step)

    def epoch(self, line):
        self.lines.append(line)

    def note(self, message):
        self.notes.append(message)


def stripes(count: int, seed: int, size: int = 32) -> Split:
    """Noisy images of two classes, horizontal and vertical stripes: a network learns them in a few steps."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    wave = 60 * np.sign(np.sin(np.arange(size)))
    pictures = np.where(labels[:, None, None] == 0, wave[None, :, None], wave[None, None, :])[..., None]
    noise = generator.normal(0, 40, (count, size, size, 3))
    return Split(np.clip(128 + pictures + noise, 0, 255).astype(np.uint8), labels.astype(np.int64))


def synthetic(classes: int, channels: int, height: int, width: int, train: int = 0, test: int = 0) -> Dataset:
    """Noisy images of so many classes, each with a pattern of coarse blocks of its own: learnt in a few steps.

    Args:
        classes: how many.
        channels: of an image.
        height: in pixels.
        width: in pixels.
        train: training images; by default four a class, at least 96.
        test: test images; by default a third of that.
    """
    generator = np.random.default_rng(classes)
    coarse = generator.choice((-60, 60), (classes, -(-height // 8), -(-width // 8), channels))
    patterns = 128 + coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]

    def split(count):
        labels = np.arange(count) % classes
        noise = generator.integers(-60, 61, (count, height, width, channels))
        return Split(np.clip(patterns[labels] + noise, 0, 255).astype(np.uint8), labels.astype(np.int64))

    train = train or max(96, 4 * classes)
    names = tuple(f"class {number}" for number in range(classes))
    return assemble("synthetic", split(train), split(test or train // 3), names, "made by the tests")


@pytest.fixture(scope="session")
def striped() -> Dataset:
    return Dataset(
        name="digits",
        train=stripes(192, 0),
        test=stripes(64, 1),
        classes=("horizontal", "vertical"),
        mean=(0.5, 0.5, 0.5),
        std=(0.3, 0.3, 0.3),
        fingerprint="0" * 64,
        source="stripes made by the tests",
    )


@pytest.fixture
def recipe() -> sections.Recipe:
    """Three short epochs of a network that costs little and draws all that one may: dropout's masks, phases of maps."""
    return schema.parse(
        sections.Recipe,
        {
            "name": "tiny",
            "data": {"name": "digits"},
            "model": {"network": "tiny", "table": TABLE, "dropout": 0.1},
            "train": {
                "epochs": 3,
                "batch_size": 32,
                "learning_rate": 0.1,
                "precision": "float32",
                "workers": 0,
                "keep": 9,
            },
        },
        "the tests",
    )


def a_socket(path):
    """Put a socket in a place, which answers nobody."""
    # an address may have 107 bytes
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(path.parent):
        made.bind(path.name)


def change(recipe, **settings):
    """The recipe with other settings of its training."""
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=settings)})


def with_network(recipe, network, dropout=None):
    """The recipe with a built-in network, or a user's, in place of the tiny one."""
    return recipe.model_copy(update={"model": sections.ModelConfig(network=network, dropout=dropout)})


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks have the same weights, to the bit."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def fresh(recipe, dataset):
    torch.manual_seed(recipe.train.seed)
    return build(recipe.model, dataset.spec)


def fit(recipe, dataset, where, observer=None):
    """Train in a run folder, new or not."""
    run = Run.open(where) if where.exists() else Run.create(where, recipe)
    return loop.fit(fresh(recipe, dataset), dataset, recipe, run, observer or Silent())


@pytest.fixture
def own_places(request, tmp_path, monkeypatch):
    """No test finds the real data, the user's cache or the network, but for those marked `cifar10`."""
    if request.node.get_closest_marker("cifar10"):
        return
    import huggingface_hub.constants

    from flyweight.data import online
    from flyweight.data.cifar10 import download, find

    nobody = "http://127.0.0.1:9"  # the discard port: a connection is refused at once
    monkeypatch.setenv("FLYWEIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FLYWEIGHT_DATA", raising=False)
    monkeypatch.setattr(find, "checkout", lambda: None)
    monkeypatch.setattr(download, "CIFAR10", replace(download.CIFAR10, urls=(f"{nobody}/a", f"{nobody}/b")))
    monkeypatch.setattr(download, "hub_address", lambda: nobody)
    monkeypatch.setattr(online, "hub_address", lambda: nobody)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
