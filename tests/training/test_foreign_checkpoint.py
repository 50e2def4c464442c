"""A checkpoint whose hash fits and whose content does not: one line, whatever is in it."""

import copy
import functools
import io
import operator

import torch
from conftest import Silent, change, fit, fresh

from flyweight import files
from flyweight.errors import RunError
from flyweight.runs.folder import Run
from flyweight.training.resume import ADDED
from flyweight.training.trainer import Trainer

CHANGES = {
    "epoch": [10**9, -1, 0, True, 1.0, "1", None],
    "step": [10**9, -1, 6, "0"],
    "seconds": ["long", -1.0, float("nan")],
    "history": [[], [5], [{}], [{"epoch": 1}], "rows", None],
    "network": [{}, [], {"a": torch.zeros(1)}, "weights"],
    "optimizer": [{}, {"state": 5, "param_groups": []}, []],
    "schedule": [[], None],
    "random": [torch.zeros(3), torch.zeros(3, dtype=torch.uint8), "a"],
    "totals": [torch.zeros(7), "a", None],
    "recipe": [[], {}, "a", None],
    "fingerprint": [5, None, "another"],
}
INNER = [
    ("optimizer", "param_groups", 0, "lr"),
    ("optimizer", "param_groups", 0, "max_lr"),
    ("optimizer", "param_groups", 1, "momentum"),
    ("optimizer", "state", 0, "momentum_buffer"),
    ("schedule", "last_epoch"),
    ("schedule", "base_lrs", 0),
    ("schedule", "_schedule_phases", 0, "end_step"),
]


OTHERS = (None, "a", [], {}, True)


def nested(whole):
    """Changes of single places inside a history, a schedule and an optimizer."""
    for section in ("history", "schedule", "optimizer"):
        ways = {way: value for way, value in places(whole[section]) if value is not None}
        # one of each name, and none that a version of torch may lack
        chosen = {way[-1]: way for way in ways if way[-1] not in ADDED}
        for number, way in enumerate(chosen.values()):
            kind = OTHERS[number % len(OTHERS)]
            if type(kind) is not type(ways[way]):
                value = copy.deepcopy(whole[section])
                inner = functools.reduce(operator.getitem, way[:-1], value)
                inner[way[-1]] = kind
                yield section, way, value


def places(value, way=()):
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield (*way, key), value[key]
        yield from places(value[key], (*way, key))


def test_it_is_one_line(striped, recipe, tmp_path):
    recipe = change(recipe, epochs=1)
    fit(recipe, striped, tmp_path / "run")
    run = Run(tmp_path / "run")
    (file,) = run.checkpoints.iterdir()
    whole = torch.load(io.BytesIO(files.unsealed(file.read_bytes())), weights_only=True)
    weights = {
        f"network of {kind}": {name: value.to(kind) for name, value in whole["network"].items()}
        for kind in (torch.int64, torch.bool, torch.complex64)
    }
    cases = [(key, value, {**whole, key: value}) for key, values in CHANGES.items() for value in values]
    cases += [(key, "left out", {name: value for name, value in whole.items() if name != key}) for key in CHANGES]
    cases += [(what, "", {**whole, "network": network}) for what, network in weights.items()]
    cases += [(f"{section}, inside", place, {**whole, section: value}) for section, place, value in nested(whole)]
    # what torch takes, and misses in the next step
    for way in INNER:
        cut = copy.deepcopy(whole)
        functools.reduce(operator.getitem, way[:-1], cut).pop(way[-1])
        cases.append((way, "left out", cut))
    other = copy.deepcopy(whole)
    other["optimizer"]["state"][0]["momentum_buffer"] = torch.zeros(7)
    cases.append(("momentum", "of another shape", other))
    silent, lines = [], []
    for key, value, content in [("nothing", "", whole), *cases]:
        buffer = io.BytesIO()
        torch.save(content, buffer)
        file.write_bytes(files.sealed(buffer.getvalue()))
        try:
            Trainer(fresh(recipe, striped), striped, recipe, run, Silent()).restore()
        except RunError as error:
            lines.append(str(error))
        else:
            silent.append((key, value))
    assert silent == [("nothing", "")]
    assert len(lines) == len(cases)
    assert max(len(line) for line in lines) < 500
    assert not [line for line in lines if "\n" in line]
