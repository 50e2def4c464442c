import os
import signal

import pytest
import torch
from conftest import Silent, change, fit, fresh

from flyweight.errors import DivergedError
from flyweight.runs.folder import Run
from flyweight.training import loop
from flyweight.training.interrupt import Stop
from flyweight.training.trainer import Trainer


def test_a_learning_rate_that_is_too_high_is_one_line(striped, recipe, tmp_path):
    with pytest.raises(
        DivergedError, match=r"the loss became (nan|inf) in epoch 1.*lower train.learning_rate \(it is 1e\+30"
    ):
        fit(change(recipe, learning_rate=1e30), striped, tmp_path / "run")


def test_a_loss_that_is_no_number_leaves_the_checkpoint_before_it(striped, recipe, tmp_path):
    run = Run.create(tmp_path / "run", recipe)
    trainer = Trainer(fresh(recipe, striped), striped, recipe, run, Silent())
    trainer.run_epoch(Stop())
    with torch.no_grad():
        trainer.state.network.classifier.weight.fill_(torch.nan)
    with pytest.raises(DivergedError, match="the loss became nan in epoch 2"):
        trainer.run_epoch(Stop())
    state, _ = run.load_checkpoint()
    assert state["epoch"] == 1
    assert all(value.isfinite().all() for value in state["network"].values())


def test_diverging_has_an_exit_code_of_its_own():
    assert DivergedError.exit_code == 5


def trained(striped, recipe, tmp_path, **settings):
    """A training after one epoch of two steps."""
    recipe = change(recipe, batch_size=96, optimizer="muon", **settings)
    trainer = Trainer(fresh(recipe, striped), striped, recipe, Run.create(tmp_path / "run", recipe), Silent())
    trainer.run_epoch(Stop())
    return trainer


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        (lambda state: state.network.classifier.weight, r"network.classifier.weight"),
        (lambda state: state.network.get_buffer("c1.conv1.1.running_var"), r"network.c1.conv1.1.running_var"),
        (lambda state: state.average.module.classifier.weight, r"average.module.classifier.weight"),
        (lambda state: next(iter(state.optimizer.state.values()))["momentum"], r"optimizer.state.0.momentum"),
        (lambda state: state.totals, r"totals"),
    ],
)
def test_what_is_not_finite_is_not_saved_over_what_is(striped, recipe, tmp_path, broken, name):
    trainer = trained(striped, recipe, tmp_path, ema=0.5)
    files = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with torch.no_grad():
        tensor = broken(trainer.state)
        tensor[(0,) * tensor.ndim] = torch.inf
    trainer.state.step = 1
    with pytest.raises(DivergedError, match=rf"^{name} is not finite any more.*muon_learning_rate \(it is 0.08\)$"):
        trainer.save()
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == files


def test_a_test_loss_that_is_not_finite_is_not_saved(striped, recipe, tmp_path):
    trainer = trained(striped, recipe, tmp_path)
    trainer.state.history[-1].test_loss = torch.inf
    with pytest.raises(DivergedError, match="^history.0.test_loss is not finite"):
        trainer.save()


def test_what_a_network_keeps_infinite_by_design_may_be_saved(striped, recipe, tmp_path):
    network = fresh(recipe, striped)
    network.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    run = Run.create(tmp_path / "run", recipe)
    Trainer(network, striped, recipe, run, Silent()).save()
    assert run.load_checkpoint()[0]["network"]["mask"][1] == -torch.inf


def breaking(striped, recipe, tmp_path, steps, observer=None):
    """Train a network whose gradient is no number after so many steps; the run folder."""
    network, taken = fresh(recipe, striped), []

    def gradient(own):
        taken.append(1)
        return own * torch.nan if len(taken) == steps else own

    network.classifier.weight.register_hook(gradient)
    run = Run.create(tmp_path / "run", recipe)
    with pytest.raises(DivergedError, match="is not finite any more after epoch .*, and what was saved before is kept"):
        loop.fit(network, striped, recipe, run, observer or Silent())
    return run


def test_what_breaks_in_the_very_last_step_does_not_ship(striped, recipe, tmp_path):
    # of the last step no loss is told: it was finite
    run = breaking(striped, change(recipe, batch_size=96, keep=1), tmp_path, steps=6)
    assert not run.weights.exists()
    content, _ = run.load_checkpoint()
    assert content["epoch"] == 2
    assert all(value.isfinite().all() for value in content["network"].values())


def test_what_breaks_in_an_epoch_before_does_not_cost_the_one_checkpoint_that_is_kept(striped, recipe, tmp_path):
    run = breaking(striped, change(recipe, batch_size=96, keep=1), tmp_path, steps=4)
    content, _ = run.load_checkpoint()
    assert content["epoch"] == 1
    assert all(value.isfinite().all() for value in content["network"].values())


def test_an_interrupt_after_it_does_not_cost_the_last_checkpoint_that_is_finite(striped, recipe, tmp_path):
    observer = Silent()
    observer.on_step = lambda *now: os.kill(os.getpid(), signal.SIGINT) if now == (1, 4) else None
    run = breaking(striped, change(recipe, keep=1, loss_every=99), tmp_path, steps=9, observer=observer)
    content, _ = run.load_checkpoint()
    assert (content["epoch"], content["step"]) == (1, 0)
    assert all(value.isfinite().all() for value in content["network"].values())
