"""What a run remembers of the machine."""

import json
import shlex
import sys
from datetime import datetime
from importlib import metadata

import numpy as np
import torch

from flyweight import __version__
from flyweight.machine import environment


def test_versions_are_those_that_run():
    record = environment.describe()
    assert record["flyweight"] == __version__
    assert record["torch"] == torch.__version__
    assert record["numpy"] == np.__version__
    assert record["albumentations"] == metadata.version("albumentations")
    assert record["accelerate"] == metadata.version("accelerate")
    assert record["opencv"]
    assert record["processor"]
    assert json.loads(json.dumps(record)) == record


def test_what_is_not_installed_has_no_version():
    assert environment._version("no-such-distribution") is None
    assert environment._version("no-such-distribution", "numpy") == np.__version__


def test_the_command_can_be_pasted_into_a_shell(monkeypatch):
    words = ["train", "my recipe.yaml", "--set", "name=it's", "--set", "data.path=$HOME"]
    monkeypatch.setattr(sys, "argv", ["/anywhere/flyweight", *words])
    assert shlex.split(environment.describe()["command"]) == ["flyweight", *words]


def test_times_are_in_utc():
    now = datetime.fromisoformat(environment.now())
    assert now.utcoffset().total_seconds() == 0
    assert now.microsecond == 0
