"""The teacher of a training: asked in each step, or once about some epochs."""

import signal
from dataclasses import replace

import pytest
import torch
from conftest import Silent, change, fit, fresh, same, with_network

from flyweight import schema
from flyweight.errors import FlyweightError, RunError
from flyweight.files import sealed, unsealed
from flyweight.inference.classifier import Classifier
from flyweight.recipes.sections import TrainConfig
from flyweight.runs.card import load_trained
from flyweight.runs.folder import Run
from flyweight.training import loop
from flyweight.training.interrupt import Stop
from flyweight.training.teaching import load_teacher
from flyweight.training.trainer import Trainer

IMAGES = 192  # of the striped ones


@pytest.mark.early
def test_a_pupil_learns_from_its_teacher_and_says_so(striped, recipe, tmp_path):
    recipe = with_network(recipe, "sprint")
    fit(recipe, striped, tmp_path / "teacher")
    taught = change(recipe, teacher=str(tmp_path / "teacher"), teacher_share=1.0, epochs=2, seed=1)
    whole = fit(taught, striped, tmp_path / "pupil")
    assert whole.card.teacher == "teacher"
    assert "(distilled from" in load_trained(tmp_path / "pupil").card.title
    assert load_trained(tmp_path / "teacher").card.title == "sprint"
    # only the teacher spoke, and what it says can be learnt from
    assert whole.history[-1].train_accuracy > 90
    # a run whose teacher is another one by now is not gone on with
    fit(change(recipe, seed=2), striped, tmp_path / "other")
    for name in ("model.safetensors", "config.json"):
        (tmp_path / "teacher" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(RunError, match="the weights of the teacher .* have changed since"):
        fit(taught, striped, tmp_path / "pupil")


@pytest.fixture
def taught(striped, recipe, tmp_path):
    """The recipe of three epochs of which the third repeats the first."""
    fit(change(recipe, epochs=1), striped, tmp_path / "teacher")
    return change(recipe, teacher=str(tmp_path / "teacher"), teacher_cycle=2)


@pytest.fixture
def asked(monkeypatch):
    """How many images a network was asked about at once, each time, by the path of tests and kept answers."""
    counts, plain = [], Classifier.__call__

    def counted(self, images, often=True):
        counts.append(len(images))
        return plain(self, images, often)

    monkeypatch.setattr(Classifier, "__call__", counted)
    return counts


def trainer(recipe, dataset, folder):
    run = Run.open(folder) if folder.exists() else Run.create(folder, recipe)
    return Trainer(fresh(recipe, dataset), dataset, recipe, run, Silent())


def test_a_teacher_that_may_know_the_held_out_pictures_is_refused(striped, taught):
    with pytest.raises(FlyweightError, match="train.teacher: .* was trained on other data"):
        load_teacher(taught.train.teacher, replace(striped, fingerprint="1" * 64))


def test_kept_answers_are_the_teachers_about_the_images_that_the_pupil_sees(striped, taught, tmp_path):
    pupil = trainer(taught, striped, tmp_path / "pupil")
    pupil.teacher.begin(1, Stop())
    images, _, indices = pupil.loader.dataset[1, 2]
    teacher = load_trained(tmp_path / "teacher")
    with torch.no_grad():
        said = teacher.model(((images / 255 - 0.5) / 0.3).permute(0, 3, 1, 2))
    kept = pupil.teacher.kept(indices, torch.device("cpu"))
    assert kept.dtype == torch.float32
    # they are kept as float16
    torch.testing.assert_close(kept, said, rtol=1e-3, atol=1e-3)


def test_epochs_repeat_their_images_in_another_order(striped, taught, recipe, tmp_path):
    pupil = trainer(taught, striped, tmp_path / "pupil")
    of_epoch = []
    for epoch in range(3):
        images, _, indices = (
            torch.cat(parts) for parts in zip(*(pupil.loader.dataset[epoch, step] for step in range(6)), strict=True)
        )
        of_epoch.append((images[indices.argsort()], indices))
    assert torch.equal(of_epoch[2][0], of_epoch[0][0])
    assert not torch.equal(of_epoch[1][0], of_epoch[0][0])
    assert not torch.equal(of_epoch[2][1], of_epoch[0][1])
    # without a teacher nothing repeats
    alone = trainer(change(recipe, teacher_cycle=2), striped, tmp_path / "alone").loader.dataset
    assert alone.cycle is None


def test_a_teacher_is_asked_about_each_image_once_a_repeated_epoch(striped, taught, tmp_path, asked):
    whole = fit(taught, striped, tmp_path / "pupil")
    tests = 64 * (3 + 1)  # after each epoch, and to calibrate
    assert sum(asked) - tests >= 2 * IMAGES
    kept_for = sum(asked)
    asked.clear()
    longer = fit(change(taught, epochs=5), striped, tmp_path / "longer")
    assert sum(asked) - kept_for == 64 * 2
    assert len(longer.history) - len(whole.history) == 2
    # and it says the same in the first epoch as one that is asked in each step
    each = fit(change(taught, teacher_cycle=None), striped, tmp_path / "each")
    assert whole.history[0].train_loss == pytest.approx(each.history[0].train_loss, rel=1e-3)


def test_nothing_is_left_of_the_answers_after_the_training(striped, taught, tmp_path):
    run = Run.create(tmp_path / "pupil", taught)
    run.answers.mkdir()
    leftover = run.answers / ".epoch-0001.answers.abcdefgh.unfinished"
    leftover.write_bytes(b"killed in a write")
    fit(taught, striped, run.folder)
    assert not run.answers.exists()
    other = Run.create(tmp_path / "other", taught)
    other.answers.mkdir()
    (other.answers / "mine.txt").write_text("of the user's")
    fit(taught, striped, other.folder)
    assert [file.name for file in other.answers.iterdir()] == ["mine.txt"]


class Pressing:
    """A question that is asked to stop after so many parts."""

    def __init__(self, after):
        self.left, self.asked, self.number = after, False, None

    @property
    def wanted(self):
        self.left -= 1
        return self.left < 0


def test_who_is_stopped_while_the_teacher_answers_loses_nothing(striped, taught, tmp_path):
    whole = fit(taught, striped, tmp_path / "whole")
    pupil = trainer(taught, striped, tmp_path / "pupil")
    with pytest.raises(KeyboardInterrupt) as ended:
        pupil.run_epoch(Pressing(1))
    assert ended.value.args == ()
    assert pupil.state.step == 0
    assert not pupil.run.answers.exists()
    assert same(fit(taught, striped, tmp_path / "pupil").model, whole.model)


def stopped(recipe, dataset, folder):
    """The run folder of a training that Ctrl-C stopped at the end of the second epoch."""
    observer = Silent()
    observer.on_step = lambda epoch, step: (epoch, step) == (1, 6) and signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, dataset, folder, observer)
    return Run(folder)


@pytest.mark.parametrize(
    ("what", "word"),
    [
        ("cut", "is damaged"),
        ("flipped", "is damaged"),
        ("another array", "is damaged"),
        ("a folder", "cannot be read"),
        ("of another recipe", None),
        ("gone", None),
    ],
)
def test_answers_that_are_not_whole_are_asked_for_again(striped, taught, tmp_path, what, word, asked):
    whole = fit(taught, striped, tmp_path / "whole")
    run = stopped(taught, striped, tmp_path / "pupil")
    file = run.answers / "epoch-0001.answers"
    content = file.read_bytes()
    if what == "of another recipe":
        other = stopped(change(taught, seed=1), striped, tmp_path / "other")
        file.write_bytes((other.answers / file.name).read_bytes())
    elif what == "another array":
        file.write_bytes(sealed(unsealed(content)[:32] + b"no array"))
    elif what in ("gone", "a folder"):
        file.unlink()
        if what == "a folder":
            file.mkdir()
    else:
        file.write_bytes(content[:-1] if what == "cut" else bytes([content[0] ^ 1]) + content[1:])
    observer = Silent()
    if what == "a folder":
        with pytest.raises(RunError, match="cannot write .*epoch-0001.answers"):
            fit(taught, striped, run.folder, observer)
    else:
        assert same(fit(taught, striped, run.folder, observer).model, whole.model)
    said = [f"{file} {word}" in note and note.endswith("; the teacher is asked again") for note in observer.notes]
    assert said == ([True] if word else [])


def test_answers_are_not_written_through_a_link(striped, taught, tmp_path):
    run = Run.create(tmp_path / "pupil", taught)
    (tmp_path / "elsewhere").mkdir()
    run.answers.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="is a link to"):
        loop.fit(fresh(taught, striped), striped, taught, run, Silent())
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"mixup": 0.4}, "mixed images cannot be kept"),
        ({"sampling": "balanced"}, "several times an epoch"),
        ({"teacher_cycle": 0}, "greater than or equal to 1"),
    ],
)
def test_a_cycle_is_refused_where_an_image_is_not_the_same_each_time(settings, word):
    with pytest.raises(FlyweightError, match=word):
        schema.parse(TrainConfig, {"teacher": "sprint", "teacher_cycle": 20, **settings}, "a recipe")
