"""What a training step minimises: cross-entropy with smoothed labels, of mixed images, beside a teacher's answers."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from flyweight.data.dataset import Dataset
from flyweight.recipes.sections import TrainConfig


class Objective:
    """The loss of a recipe.

    Args:
        config: of the training.
        dataset: that it trains on.
        device: where it runs.
    """

    def __init__(self, config: TrainConfig, dataset: Dataset, device: torch.device) -> None:
        self.config = config
        self.weights: Tensor | None = None
        if config.class_weights == "balanced":
            self.weights = torch.from_numpy(balanced(dataset.train.labels, len(dataset.classes))).to(device)

    def smoothing(self, progress: float) -> float:
        """Of the labels, when so large a share of all steps is done."""
        begin, end = self.config.label_smoothing, self.config.label_smoothing_end
        return begin if end is None else begin + (end - begin) * progress

    def share_of_another(self, progress: float) -> float:
        """How much of another image goes into each of a batch, up to one half (Zhang et al. 2018, "mixup").

        A batch is mixed with a probability that falls from one to zero over the training: what the network is tested
        on are whole images.
        """
        if not self.config.mixup or torch.rand(()).item() < progress:
            return 0.0
        share = float(torch.distributions.Beta(self.config.mixup, self.config.mixup).sample())
        return min(share, 1 - share)

    @staticmethod
    def mixed(inputs: Tensor, share: float) -> Tensor:
        """Each image with the one as far from the other end of the batch, whose order is random already."""
        return inputs.lerp(inputs.flip(0), share) if share else inputs

    def loss(
        self, outputs: Tensor, labels: Tensor, share: float, progress: float, answers: Tensor | None = None
    ) -> Tensor:
        """The mean over a batch.

        Args:
            outputs: (N, classes) float32, the network's logits.
            labels: (N,) of the images before they were mixed.
            share: of the other image in each of them.
            progress: share of all steps that is done.
            answers: (N, classes) float32, the teacher's logits for the same images; none: there is no teacher.
        """
        smoothing = self.smoothing(progress)
        loss = self._of_labels(outputs, labels, smoothing)
        if share:
            loss = loss.lerp(self._of_labels(outputs, labels.flip(0), smoothing), share)
        if answers is not None:
            taught = distillation(outputs, answers, self.config.teacher_temperature)
            loss = loss.lerp(taught, self.config.teacher_share)
        return loss

    def _of_labels(self, outputs: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        """Cross-entropy, each image's whole term, with the smoothed share in it, times the weight of its class.

        The sum is divided by the images and not by their weights, as torch would: so an image's gradient is that
        without weights times its class's, whatever else is in the batch, and a batch without rare images does not count
        as much as one with them. Torch would also take the smoothed share by the classes it goes to and not by the
        image's own.
        """
        if self.weights is None:
            return F.cross_entropy(outputs, labels, label_smoothing=smoothing)
        each = F.cross_entropy(outputs, labels, label_smoothing=smoothing, reduction="none")
        return (each * self.weights[labels]).mean()


def balanced(labels: np.ndarray, classes: int) -> np.ndarray:
    """The weight of each class with which all classes count as much: images / (classes with images * its images).

    Over all images the mean is 1, so that a learning rate keeps its meaning. A class without images has none to weigh:
    0, which nothing is multiplied by.

    Args:
        labels: (N,) int64 of the training images.
        classes: how many there are.

    Returns:
        (classes,) float32.
    """
    counts = np.bincount(labels, minlength=classes)
    weights = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return np.where(counts > 0, weights, 0).astype(np.float32)


def distillation(outputs: Tensor, answers: Tensor, temperature: float = 2.0) -> Tensor:
    """How far a network's softened probabilities are from a teacher's (Hinton et al. 2015, section 2).

    ``T^2 * KL(teacher / T || network / T)``: the factor keeps the size of the gradient at any temperature.

    Args:
        outputs: (N, classes) logits.
        answers: (N, classes) logits of the teacher.
        temperature: T; the higher, the more the unlikely classes count.
    """
    divergence = F.kl_div(
        F.log_softmax(outputs / temperature, 1), F.log_softmax(answers / temperature, 1),
        reduction="batchmean", log_target=True,
    )  # fmt: skip
    return temperature**2 * divergence
