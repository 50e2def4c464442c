"""Trained networks to export, made in no time, and what onnxruntime says of them."""

import json

import numpy as np
import onnxruntime
import torch
from conftest import synthetic

from flyweight import schema
from flyweight.export.subject import Subject
from flyweight.images.preprocess import normalize
from flyweight.networks.build import build
from flyweight.networks.layers import KINDS
from flyweight.recipes.sections import ModelConfig
from flyweight.runs.card import Card, Trained, save_model

# a row of each kind, kernel, stride and dilation; the first stride and the dilated map have phases of their own
EVERY = {
    "blocks": [
        [{"width": 8, "kernel": 1}, *({"width": 8, "kind": kind, "residual": True} for kind in KINDS)],
        *(
            [{"width": 12, "kind": kind, "kernel": 5, "stride": 2}, {"width": 12, "kind": kind, "dilation": 2}]
            for kind in KINDS
        ),
        [{"width": 16, "kernel": 7, "padding": 2}],
    ]
}
DILATED = {"blocks": [[{"width": 8}, {"width": 8, "dilation": 2}, {"width": 12, "kind": "separable", "dilation": 2}]]}
NORM_LAST = {"blocks": [[{"width": 8}, {"width": 12, "stride": 2}]], "order": "relu-norm", "dropout": 0.1, "pool": 8}


def described(table, dataset, **more):
    """A card of a network of these rows for this data."""
    rows = None if table is None else schema.parse(ModelConfig, {"network": "rows", "table": table}, "the tests").table
    spec = dataset.spec
    kept = {
        "network": "rows",
        "dropout": None,
        "epochs": 1,
        "data": dataset.name,
        "sha256": "0" * 64,
        "temperature": 0.7,
    } | more
    return Card(
        classes=dataset.classes, input_shape=spec.shape, mean=dataset.mean, std=dataset.std,
        fingerprint=dataset.fingerprint, table=rows, **kept,
    )  # fmt: skip


def lived(network, dataset):
    """The network with norms that have seen images, so that they do something, in eval mode."""
    images = torch.from_numpy(np.array(dataset.train.images[:32]))
    with torch.no_grad():
        for _ in range(3):
            network.train()(normalize(images, dataset.mean, dataset.std))
    return network.eval()


def trained(table, dataset):
    torch.manual_seed(0)
    card = described(table, dataset)
    return Trained(lived(build(ModelConfig(network="rows", table=card.table), dataset.spec), dataset), card, None)


def learnt(table, dataset):
    """The same after a few steps of training, so that its answers are no guesses."""
    made = trained(table, dataset)
    images = normalize(torch.from_numpy(np.array(dataset.train.images)), dataset.mean, dataset.std)
    labels = torch.from_numpy(np.array(dataset.train.labels))
    optimizer = torch.optim.Adam(made.model.parameters(), 0.02)
    made.model.train()
    for start in range(0, 30 * 32, 32):
        batch = torch.arange(start, start + 32) % len(labels)
        loss = torch.nn.functional.cross_entropy(made.model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    made.model.eval()
    return made


def subject(table, dataset=None):
    dataset = dataset or synthetic(10, 3, 16, 16)
    return Subject(trained(table, dataset), dataset)


def of_module(network, dataset=None):
    """A subject of any module."""
    dataset = dataset or synthetic(10, 3, 16, 16)
    return Subject(Trained(lived(network, dataset), described(None, dataset, network="my/net.py:Own"), None), dataset)


def run_folder(folder, table, dataset, **more):
    """A folder with weights and a card, such as a run leaves."""
    folder.mkdir()
    made = trained(table, dataset)
    save_model(folder, made.model, described(table, dataset, **more))
    return json.loads((folder / "config.json").read_text())["sha256"]


def asked(path, inputs):
    """What a file says."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs})[0]
