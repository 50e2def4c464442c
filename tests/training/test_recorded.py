"""Recorded steps are the steps."""

import pytest
import torch
from conftest import Silent, change, fresh

from flyweight.machine.together import Share
from flyweight.runs.folder import Run
from flyweight.training.interrupt import Stop
from flyweight.training.recorded import Recorded, recordable
from flyweight.training.trainer import Trainer


class Recorder:
    """Stands in for CUDA graphs where there is no GPU: carries a job out again when it is replayed, and not before."""

    def __init__(self):
        self.recordings = 0

    def __call__(self, job):
        self.recordings += 1
        return job


def _trainer(recipe, dataset, where):
    return Trainer(fresh(recipe, dataset), dataset, recipe, Run.create(where, recipe), Silent())


def _alike(one, other, **tolerance):
    for name, value in one.state.network.state_dict().items():
        torch.testing.assert_close(other.state.network.state_dict()[name], value, msg=name, **tolerance)
    losses = [[row.train_loss for row in trainer.state.history] for trainer in (one, other)]
    assert losses[0] == pytest.approx(losses[1], rel=tolerance["rtol"])
    return True


@pytest.mark.parametrize("network", ["dilated", "sprint2"])
def test_a_training_by_recordings_is_the_training(striped, recipe, tmp_path, network):
    recipe = change(recipe, batch_size=8, epochs=1, optimizer="muon", learning_rate=0.001, muon_learning_rate=0.0002)
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"network": network, "dropout": 0.0})})
    plain, other = _trainer(recipe, striped, tmp_path / "plain"), _trainer(recipe, striped, tmp_path / "recorded")
    recorder = Recorder()
    other.recorded = Recorded(other.state.network, other.state.optimizer, other._passes, recorder)
    for trainer in (plain, other):
        torch.manual_seed(1)
        trainer.run_epoch(Stop())
    steps = plain.steps
    # one of the optimizer's step, and of the others no more than there are phases
    assert recorder.recordings == 2 if network == "sprint2" else 3 <= recorder.recordings <= 17 < steps
    assert _alike(plain, other, rtol=0.02, atol=0.005)


def test_what_changes_from_step_to_step_is_not_recorded(recipe):
    alone = Share(8)
    assert recordable(recipe, alone)
    assert recordable(change(recipe, teacher="sprint", teacher_cycle=2), alone)
    assert not recordable(change(recipe, teacher="sprint"), alone)
    assert not recordable(change(recipe, mixup=0.2), alone)
    assert not recordable(change(recipe, label_smoothing_end=0.0), alone)
    assert not recordable(recipe, Share(8, 0, 2))
    own = recipe.model.model_copy(update={"network": "net.py:Net"})
    assert not recordable(recipe.model_copy(update={"model": own}), alone)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU of NVIDIA's")
@pytest.mark.parametrize("network", ["dilated", "sprint2"])
def test_on_a_gpu_recorded_steps_are_the_steps_up_to_rounding(striped, recipe, tmp_path, network):
    recipe = change(recipe, batch_size=8, epochs=1, optimizer="muon", learning_rate=0.001, muon_learning_rate=0.0002)
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"network": network, "dropout": 0.0})})
    plain, other = _trainer(recipe, striped, tmp_path / "plain"), _trainer(recipe, striped, tmp_path / "recorded")
    assert plain.device.type == "cuda"
    assert other.recorded is not None
    plain.recorded = None
    for trainer in (plain, other):
        torch.manual_seed(1)
        trainer.run_epoch(Stop())
    assert _alike(plain, other, rtol=0.02, atol=0.005)
