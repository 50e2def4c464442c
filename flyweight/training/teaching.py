"""The teacher of a training: asked in each step, or once about some augmented epochs that then come again and again.

Teacher and pupil see the same augmented image either way, on which much depends (Beyer et al. 2022, "Knowledge
distillation: a good teacher is patient and consistent"). The second way costs the answers about `train.teacher_cycle`
epochs and no more, however long the training is and however large the teacher.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flyweight import files
from flyweight.data import Dataset
from flyweight.errors import FlyweightError, RunError, out_of_memory
from flyweight.inference.classifier import Classifier, about_all
from flyweight.machine.device import sent
from flyweight.machine.together import from_first, processes
from flyweight.recipes.sections import Recipe
from flyweight.runs.card import Trained, find_trained, load_trained
from flyweight.runs.folder import Run
from flyweight.training.batches import Batches
from flyweight.training.history import Observer
from flyweight.training.interrupt import Stop

NAME = r"epoch-\d{4,}\.answers"
"""Names of the files of kept answers: another file of their folder is somebody's own."""
MOST = 4 * 1024**3
"""Bytes of one."""


class Teacher:
    """What a recipe's teacher says; nothing where it has none.

    Args:
        recipe: of the training, with nothing left ``auto``.
        dataset: that it trains on.
        batches: augmented, as the pupil sees them.
        run: keeps the answers, where they are kept, until the training has ended.
        observer: told of kept answers that cannot be read.

    Attributes:
        sha256: of its weights; none: the recipe has no teacher.

    Raises:
        FlyweightError: it does not fit, see :func:`load_teacher`.
    """

    def __init__(self, recipe: Recipe, dataset: Dataset, batches: Batches, run: Run, observer: Observer) -> None:
        config = recipe.train
        self.batches, self.folder, self.observer = batches, run.answers, observer
        self.cycle = config.cycle
        self.sha256: str | None = None
        self._classify: Classifier | None = None
        self._shape = (len(dataset.train), len(dataset.classes))
        self._place, self._kept = -1, torch.empty(0)
        if config.teacher is None:
            return
        trained = load_teacher(config.teacher, dataset)
        card = trained.card
        self.sha256 = card.sha256
        self._classify = Classifier(
            trained.model.to(processes().device),
            card.input_shape,
            card.mean,
            card.std,
            precision="auto" if config.precision == "bfloat16" else "float32",
        )
        depends: dict[str, Any] = {"teacher": card.sha256, "data": dataset.fingerprint, "seed": config.seed}
        # not the precision: a run that goes on in another needs no other answers
        depends["augment"] = recipe.augment.model_dump(mode="json")
        self._of = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).digest()

    def begin(self, epoch: int, stop: Stop) -> None:
        """Have the answers about an epoch at hand, where they are kept: those of the run folder, or asked for now.

        Raises:
            KeyboardInterrupt: somebody asked to stop meanwhile; of the training nothing is lost.
            RunError: they cannot be written.
        """
        if self._classify is None or self.cycle is None or self._place == epoch % self.cycle:
            return
        place, main = epoch % self.cycle, processes().is_main_process
        kept = from_first(self._read(place) if main else None)
        if kept is None:
            images = _Augmented(self.batches, place, stop)
            kept = about_all(self._classify, images, together=True).half().numpy()
            if main:
                self._write(place, kept)
        self._place, self._kept = place, torch.from_numpy(kept)

    def kept(self, indices: Tensor, device: torch.device) -> Tensor | None:
        """(N, classes) float32 logits about the images of a step, where they are kept; none: they are not.

        Args:
            indices: (N,) of the images in the data set.
            device: where the logits are wanted.
        """
        if self._classify is None or self.cycle is None:
            return None
        return sent(self._kept[indices], device).float()

    def answers(self, inputs: Tensor) -> Tensor | None:
        """(N, classes) float32 logits about the images of a step, asked for now; none: they are kept, or nobody's.

        Args:
            inputs: (N, C, H, W) normalised, on the device.
        """
        if self._classify is None or self.cycle is not None:
            return None
        return self._classify.answers(inputs)

    def end(self) -> None:
        """Remove the kept answers: after the training nobody needs them."""
        with suppress(OSError):  # the folder is not there, or holds something of somebody else's
            if not self.folder.is_symlink():
                files.sweep(self.folder, NAME)
                for file in self.folder.iterdir():
                    if re.fullmatch(NAME, file.name):
                        file.unlink()
                self.folder.rmdir()

    def _file(self, place: int) -> Path:
        return self.folder / f"epoch-{place + 1:04d}.answers"

    def _read(self, place: int) -> np.ndarray | None:
        """(images, classes) float16 logits; none: they are to be asked for."""
        file = self._file(place)
        try:
            content = files.unsealed(files.read_bytes(file, MOST))
        except FileNotFoundError:
            return None
        except OSError as error:
            if out_of_memory(error):
                raise
            self.observer.note(f"{file} cannot be read ({files.reason(error)}); the teacher is asked again")
            return None
        if content is not None and not content.startswith(self._of):
            return None  # of another recipe, whose training had not come to its first checkpoint
        try:
            kept = np.load(io.BytesIO(content[len(self._of) :]), allow_pickle=False) if content else None
        except ValueError:
            kept = None
        if kept is None or kept.dtype != np.float16 or kept.shape != self._shape:
            self.observer.note(f"{file} is damaged; the teacher is asked again")
            return None
        return kept

    def _write(self, place: int, kept: np.ndarray) -> None:
        content = io.BytesIO()
        np.save(content, kept)
        files.whose_or_raise(self.folder)
        try:
            files.make_folders(self.folder)
        except OSError as error:
            raise RunError(f"cannot make {self.folder}: {files.reason(error)}; no checkpoint is lost") from None
        files.write_bytes(self._file(place), files.sealed(self._of + content.getvalue()))


class _Augmented:
    """The training images in their own order, augmented as in an epoch; part by part, until somebody asks to stop."""

    def __init__(self, batches: Batches, epoch: int, stop: Stop) -> None:
        self.batches, self.epoch, self.stop = batches, epoch, stop

    @property
    def shape(self) -> tuple[int, ...]:
        return self.batches.split.images.shape

    def __len__(self) -> int:
        return len(self.batches.split)

    def __getitem__(self, part: slice) -> np.ndarray:
        # several processes wait for each other, and stop after the next step
        if self.batches.share.world == 1 and self.stop.wanted:
            raise KeyboardInterrupt
        return self.batches.augmented(np.arange(len(self))[part], self.epoch)


def load_teacher(name: str, dataset: Dataset) -> Trained:
    """The trained network that a recipe names as teacher.

    Args:
        name: a network that ships, or a run folder.
        dataset: that its pupil trains on.

    Raises:
        FlyweightError: it was trained on other data than its pupil: it might know the images held out.
    """
    trained = load_trained(find_trained(name))
    if trained.card.fingerprint != dataset.fingerprint:
        raise FlyweightError(
            f"train.teacher: {name} was trained on other data (fingerprint {trained.card.fingerprint[:12]}, here"
            f" {dataset.fingerprint[:12]}); teach by one that has seen the same training images and no others"
        )
    return trained
