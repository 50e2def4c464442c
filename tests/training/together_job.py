"""What each process of a job does in the tests: ``python together_job.py FOLDER``, which gets job0.json and so on.

One process alone is what the others are compared with.
"""

import json
import os
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from flyweight import data, recipes
from flyweight.images.preprocess import normalize
from flyweight.inference import classifier
from flyweight.machine.together import my_share, processes
from flyweight.networks.build import build
from flyweight.recipes.network import Network
from flyweight.recipes.sections import ModelConfig
from flyweight.runs.card import ZOO, load_trained
from flyweight.runs.folder import Run
from flyweight.training import checks, loop, pooled, teaching
from flyweight.training.calibrate import calibrated

# an odd batch, so that the shares are not equal
ROWS = ({"width": 8, "stride": 2}, {"width": 8}, {"width": 8, "dilation": 2}, {"width": 8, "dilation": 4})
TABLE = Network.model_validate({"blocks": [ROWS]})
EXACT = (("sprint", None, 7), ("course", 0.1, 5), ("dilated", None, 4))


class Silent:
    def start(self, *_): ...
    def step(self, *_): ...
    def epoch(self, _): ...
    def note(self, _): ...


class Own(nn.Module):
    """A network that draws as users' do, norms without a module, and leaves a weight unused."""

    def __init__(self):
        super().__init__()
        self.first, self.last, self.unused = nn.Conv2d(3, 4, 3, 2), nn.Linear(4, 10), nn.Linear(2, 2)
        self.drawn = []

    def forward(self, x):
        x = F.batch_norm(self.first(x), None, None, training=True).relu()
        self.drawn.append(torch.rand(()).item())
        return self.last(x.mean((2, 3)))


class Double(nn.Module):
    """A network in float64, in which what differs is no rounding that the training has blown up."""

    def __init__(self, network):
        super().__init__()
        self.network = network.double()

    def forward(self, x):
        return self.network(x.double())


def dataset():
    return data.subset(data.load("digits"), 64, 200)


def recipe(*more):
    changes = (
        "data.name=digits", "train.epochs=2", "train.batch_size=15", "train.learning_rate=0.02", "train.ema=0.9",
        "train.mixup=0.4", "train.precision=float32", "train.workers=0", "train.label_smoothing_end=0", "train.keep=9",
    )  # fmt: skip
    plan = recipes.load("sprint", (*changes, *more))
    return plan.model_copy(update={"model": ModelConfig(network="tiny", table=TABLE, dropout=0.1)})


def fit(folder, *more):
    plan, images = recipe(*more), dataset()
    if processes().is_main_process and not folder.exists():
        Run.create(folder, plan)
    torch.manual_seed(plan.train.seed)
    result = loop.fit(Double(build(plan.model, images.spec)), images, plan, Run(folder), Silent())
    return [vars(row) for row in result.history]


def taught(folder):
    """A training whose second epoch repeats the images of the first, and what the teacher said of them."""
    teacher = load_trained(ZOO / "sprint")
    # that it was trained on other images does not matter here
    with patch.object(teaching, "load_teacher", lambda *_: teacher), patch.object(checks, "load_teacher"):
        return fit(folder, "train.mixup=0", "train.teacher=sprint", "train.teacher_cycle=1")


def pass_(network, size, custom=False):
    """Loss, gradients and running statistics of one batch, in float64."""
    images, share = dataset(), my_share(size)
    network = network.double().train()
    pooled.prepare(network, share)
    pixels = torch.from_numpy(np.array(images.train.images[share.places]))
    inputs, labels = normalize(pixels, images.mean, images.std), torch.from_numpy(images.train.labels[share.places])
    with pooled.step(share, (0, 0, 0), custom):
        loss = F.cross_entropy(network(inputs.double()), labels) * share.weight
        loss.backward()
    whole = loss.detach()[None]
    if share.world > 1:
        whole = pooled.pool(network.parameters(), whole)
    gradients = [one.grad for one in network.parameters() if one.grad is not None]
    numbers = [value.double().sum().item() for value in (*gradients, *network.buffers())]
    return {"loss": whole.item(), "numbers": numbers, "next": torch.rand(()).item()}


def calibration(trained):
    """What a card gets, and of how many images this process was asked for it."""
    asked, plain = [], classifier.Classifier.__call__

    def counted(self, images, **options):
        asked.append(len(images))
        return plain(self, images, **options)

    many = data.subset(data.load("digits"), 400, 200)
    with patch.object(classifier.Classifier, "__call__", counted):
        card = calibrated(trained.model, trained.card, many, recipe())
    return {"card": [card.temperature, card.threshold], "asked": sum(asked)}


def main(folder):
    results = {}
    for name, dropout, size in EXACT:
        torch.manual_seed(0)
        results[name] = pass_(build(ModelConfig(network=name, dropout=dropout), dataset().spec), size)
    torch.manual_seed(0)
    own = Own()
    results["own"] = pass_(own, 9, custom=True)
    own.eval()
    trained = load_trained(ZOO / "sprint")
    images = dataset()
    said = classifier.logits(trained.model, images.test.images, images.mean, images.std, together=True)
    results["said"] = said.flatten().tolist()
    results["calibrated"] = calibration(trained)
    results["history"], results["taught"] = fit(folder / "run"), taught(folder / "taught")
    if (folder / "half").exists():
        results["resumed"] = fit(folder / "half")
    rank = processes().process_index
    (folder / f"job{rank}.json").write_text(json.dumps(results | {"drawn": own.drawn}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)  # a second less than to take all of torch down
