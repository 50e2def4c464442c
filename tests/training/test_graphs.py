"""Captured steps are the steps."""

import pytest
import torch
from conftest import Silent, change, fresh, with_network

from flyweight.machine.together import Share
from flyweight.runs.folder import Run
from flyweight.training.graphs import CapturedSteps, capturable
from flyweight.training.interrupt import Stop
from flyweight.training.trainer import Trainer

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU of NVIDIA's")


class Capture:
    """Stands in for CUDA graphs where there is no GPU: does a job again when it is replayed, and not before."""

    def __init__(self):
        self.jobs = 0

    def __call__(self, job):
        self.jobs += 1
        return job


def _trained(recipe, dataset, where, captured):
    """A trainer after its first epoch, the weights it began with, and what captured."""
    trainer, capture = Trainer(fresh(recipe, dataset), dataset, recipe, Run.create(where, recipe), Silent()), Capture()
    if not captured:
        trainer.captured = None
    elif trainer.captured is None:
        trainer.captured = CapturedSteps(trainer.state.network, trainer.state.optimizer, capture)
    start = {name: value.detach().clone() for name, value in trainer.state.network.named_parameters()}
    torch.manual_seed(1)
    trainer.run_epoch(Stop())
    return trainer, start, capture


def _apart(one, other, start):
    """The largest distance of a weight's two values, as a share of the way that it went."""
    moved = {name: value.detach() for name, value in one.state.network.named_parameters()}
    return max(
        float((value.detach() - moved[name]).norm() / (moved[name] - start[name]).norm())
        for name, value in other.state.network.named_parameters()
    )


@pytest.fixture
def short(recipe):
    """An epoch of small steps, so that a difference by rounding stays one."""
    return change(recipe, batch_size=8, epochs=1, learning_rate=0.001, muon_learning_rate=0.0002)


# one graph of the update, and of the passes one for each choice of phases that came twice in 24 steps
@pytest.mark.parametrize(("network", "graphs"), [("dilated", range(3, 18)), ("sprint2", range(2, 3))])
def test_a_training_by_captured_steps_is_the_training(striped, short, tmp_path, network, graphs):
    recipe = with_network(change(short, optimizer="muon"), network)
    plain, start, _ = _trained(recipe, striped, tmp_path / "plain", captured=False)
    other, _, capture = _trained(recipe, striped, tmp_path / "captured", captured=True)
    assert capture.jobs in graphs or plain.device.type == "cuda"
    assert _apart(plain, other, start) < 0.02
    assert plain.state.history[0].train_loss == pytest.approx(other.state.history[0].train_loss, rel=1e-3)
    assert plain.state.history[0].train_accuracy == other.state.history[0].train_accuracy


def test_what_python_computes_anew_in_each_step_is_not_captured(recipe, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    alone, gpu = Share(8), torch.device("cuda")
    assert capturable(recipe, alone, gpu)
    assert capturable(change(recipe, teacher="sprint", teacher_cycle=2), alone, gpu)
    assert not capturable(change(recipe, teacher="sprint"), alone, gpu)
    assert not capturable(change(recipe, mixup=0.2), alone, gpu)
    assert not capturable(change(recipe, label_smoothing_end=0.0), alone, gpu)
    assert not capturable(recipe, Share(8, 0, 2), gpu)
    assert not capturable(recipe, alone, torch.device("cpu"))
    assert not capturable(with_network(recipe, "net.py:Net"), alone, gpu)
    monkeypatch.setattr(torch.version, "cuda", None)  # as of a build for AMD's
    assert not capturable(recipe, alone, gpu)


@GPU
@pytest.mark.parametrize("optimizer", ["muon", "sgd", "adamw"])
@pytest.mark.parametrize("network", ["dilated", "sprint2"])
def test_on_a_gpu_captured_steps_are_the_steps_up_to_rounding(striped, short, tmp_path, network, optimizer):
    recipe = with_network(change(short, optimizer=optimizer), network)
    plain, start, _ = _trained(recipe, striped, tmp_path / "plain", captured=False)
    other, _, capture = _trained(recipe, striped, tmp_path / "captured", captured=True)
    assert capture.jobs == 0
    assert _apart(plain, other, start) < 0.2
