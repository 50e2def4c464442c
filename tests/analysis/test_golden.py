"""The facts of many networks as they were when last looked at, to the letter.

``PYTHONPATH=.:tests python tests/analysis/test_golden.py`` writes them anew: look at the differences before committing.
"""

import inspect
import json
import sys
from pathlib import Path

import analysis_networks as nets
import faulty_networks
import pytest
import torch
from random_networks import random_network
from torch import nn

from flyweight import analysis
from flyweight.data.cifar10 import SPEC
from flyweight.networks import builtin
from flyweight.networks.build import build
from flyweight.recipes.sections import ModelConfig

GOLDEN = Path(__file__).with_name("golden_facts.json")


def networks():
    """Name, network and input shape of everything in the golden file. Weights do not matter."""
    for name in builtin.NETWORKS:
        yield f"built-in {name}", build(ModelConfig(network=name), SPEC), (3, 32, 32)
    for name, kind in inspect.getmembers(faulty_networks, inspect.isclass):
        if issubclass(kind, nn.Module) and kind is not nn.Module:
            yield f"faulty {name}", kind(), (3, 32, 32)
    yield "ResNet20", nets.ResNet20(), (3, 32, 32)
    yield "PlainlyHeld", nets.PlainlyHeld(), (3, 16, 16)
    for number, (function, modules, _) in enumerate(nets.FORMS):
        yield f"FORMS {number:02}", nets.Net(function, **modules), (3, 32, 32)
    for table in ("MAXIMA", "UNSURE_MAXIMA", "FEATURE_MAXIMA", "AVERAGED_PARTS", "SEPARABLE", "UNKNOWN"):
        for number, entry in enumerate(getattr(nets, table)):
            side = 16 if table in ("AVERAGED_PARTS", "SEPARABLE") else 32
            function = entry if callable(entry) else entry[0]
            yield f"{table} {number:02}", nets.one_of(table, function), (3, side, side)
    for seed in range(40):
        yield f"random {seed:02}", *random_network(seed)


def told(facts):
    """All facts as lines of text, with names in place of places in the trace."""
    field, head = facts.receptive_field, facts.head
    lines = [
        f"{facts.network} {by(facts.input_shape)}: {facts.parameters} parameters, {facts.trainable_parameters} trained,"
        f" {facts.macs} MACs, {facts.peak}",
        f"field {field.height}x{field.width} {field.status} before {field.before!r}, live {field.live},"
        f" gathered {field.gathered}: {field.detail}",
        f"head {', '.join(head.pooling)}; {len(head.targets)} last maps",
    ]
    lines += [f"fault {f.layer} {f.detail}; {by(f.map_shape)} {f.features}" for f in head.faults]
    for layer in facts.layers:
        size = by(layer.receptive_field or ())
        words = (layer.kind, layer.details, by(layer.output_shape), layer.parameters, layer.macs, size)
        lines.append(f"{layer.name}|{'|'.join(map(str, words))}|{layer.field_note}")
    lines += [convolution(part) for part in facts.convolutions]
    lines += [
        f"layer {'+'.join(part.name for part in layer.parts)}" for layer in facts.convolution_layers if layer.separable
    ]
    lines += [f"pooling {p.name} {p.kind}, stride {p.stride}, whole {p.whole}, known {p.known}" for p in facts.poolings]
    for found in (facts.dead_taps, facts.unreached, facts.unregistered, facts.unknown):
        lines += [str(entry) for entry in found]
    return lines


def convolution(part):
    sizes = (part.kernel, part.stride, part.padding, part.dilation, part.live, part.input_size, part.output_size)
    flags = f"{'bias ' * part.bias}{'transposed ' * part.transposed}"
    numbers = f"{part.inputs}>{part.outputs}/{part.groups} {part.parameters} {part.macs}"
    return f"conv {part.name} in {part.path}: {' '.join(map(by, sizes))} {flags}{numbers}"


def by(sizes):
    return "x".join(map(str, sizes))


def gathered():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {name: told(analysis.analyze(network, shape)) for name, network, shape in networks()}
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def found():
    return gathered()


@pytest.mark.early
def test_facts_are_those_of_the_golden_file(found):
    golden = json.loads(GOLDEN.read_text())
    assert list(found) == list(golden)
    for name, lines in found.items():
        assert lines == golden[name], name


if __name__ == "__main__":
    text = json.dumps(gathered(), indent=0, ensure_ascii=False)
    GOLDEN.write_text(text + "\n")
    sys.stdout.write(f"{GOLDEN}: {len(text):,} characters\n")
