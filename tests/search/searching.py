"""A search that is over in seconds: small networks, few of scikit-learn's digits, real trainings."""

import os
import subprocess
import sys
from pathlib import Path

import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

RULES = """
title: small
blocks: [c1, c2]
rules:
  - {name: two a block, kind: convolutions_per_block, count: 2}
  - {name: field, kind: receptive_field_above, minimum: 12}
  - {name: light, kind: parameters_below, limit: 4000}
  - {name: separable, kind: depthwise_separable}
"""
SPACE = "{blocks: [2], rows: [2], widths: [4, 6, 8, 12], kernels: [3, 5]}\n"
CALL = (
    "search", "rules.yaml", "--data", "digits", "--space", "space.yaml", "--recipe", "sprint", "--hold-out", "100",
    "--set", "data.train_images=64", "--set", "train.batch_size=32", "--set", "train.optimizer=adamw",
    "--set", "train.learning_rate=0.01", "--set", "train.precision=float32", "--set", "train.workers=0",
)  # fmt: skip


def place(folder: Path) -> Path:
    (folder / "rules.yaml").write_text(RULES, encoding="utf-8")
    (folder / "space.yaml").write_text(SPACE, encoding="utf-8")
    return folder


def begun(folder: Path, *more: object, **environment: str) -> "subprocess.Popen[str]":
    """A worker, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "flyweight", *CALL, *map(str, more)],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip


def ended(process: "subprocess.Popen[str]", seconds: float = 250) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=seconds)
    assert "Traceback" not in out + err, err
    return process.returncode, out, err


def study(out: Path, url: str | None = None, name: str = "flyweight-rules") -> "optuna.Study":
    """What a search has kept, read by Optuna alone."""
    backend = JournalFileBackend(str(out / "trials.journal"))
    storage = url or optuna.storages.JournalStorage(backend)
    return optuna.load_study(study_name=name, storage=storage)


def finished(found: "optuna.Study") -> dict[tuple[str, int, int], tuple[int, list[float]]]:
    """Number and values of each finished trial, by network, epochs and seed; none is there twice."""
    complete = found.get_trials(states=(TrialState.COMPLETE,))
    kept = {
        tuple(trial.user_attrs[key] for key in ("name", "epochs", "seed")): (trial.number, trial.values)
        for trial in complete
    }
    assert len(kept) == len(complete)
    return kept
