"""A trained network that PyTorch runs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from flyweight.inference.classifier import Classifier
from flyweight.inference.predict import Predictor
from flyweight.networks.custom import blamed
from flyweight.runs.card import Trained


class Loaded(nn.Module, Predictor):
    """A trained network with its card: asked about images by ``predict``, and an ``nn.Module`` of normalised tensors.

    Args:
        trained: the network with its card.
        precision: ``auto``: bfloat16 for large batches where the processor multiplies it natively; then an image's
            probabilities depend a little on how many others there are.

    Attributes:
        model: the network itself.
        card: what travels with its weights.
        trained: both, as they were loaded.
    """

    def __init__(self, trained: Trained, precision: Literal["float32", "auto"] = "float32") -> None:
        super().__init__()
        self.trained = trained
        self.model, self.card, self._precision = trained.model, trained.card, precision
        self.name, self.spec = trained.card.network, trained.card.spec
        self.temperature, self.threshold = trained.card.temperature, trained.card.threshold
        self._classifier: tuple[Any, Classifier] | None = None
        self.train(trained.model.training)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) float, less the card's mean and divided by its std, to (N, classes) logits."""
        return self.model(x)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """(N, H, W, C) uint8 in the network's size to (N, classes) float32."""
        return self._ready()(images).numpy()

    def told(self, what: str) -> AbstractContextManager[None]:
        """Where the network runs on something: what a class of the user's own raises is told as its error."""
        return blamed(self.card.model, what, "mend it")

    def _ready(self) -> Classifier:
        """The network made ready to be asked, anew where its weights have changed since."""
        state = [(id(tensor), tensor._version) for tensor in self.model.state_dict(keep_vars=True).values()]
        if self._classifier is None or self._classifier[0] != state:
            card, training = self.card, self.model.training
            try:
                classify = Classifier(self.model.eval(), card.input_shape, card.mean, card.std, self._precision)
            finally:
                self.model.train(training)
            self._classifier = (state, classify)
        return self._classifier[1]
