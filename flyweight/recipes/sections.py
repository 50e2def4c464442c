"""What a recipe may say: frozen, checked models of the YAML files. No torch here, so that reading one costs nothing.

A recipe is one experiment in one YAML file. The order of the sections is the order in which data flows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from flyweight.recipes.network import Network
from flyweight.schema import Section

Probability = Annotated[float, Field(ge=0, le=1)]
Phases = Literal["one", "all"]


class DataConfig(Section):
    """Which images."""

    name: Literal["cifar10", "digits"] = "cifar10"
    path: Path | None = Field(None, description="a folder or archive to read instead of the known places")
    hold_out: int = Field(
        0, ge=0, description="training images set aside to choose by; they replace the test set, which is then not read"
    )
    train_images: int | None = Field(None, ge=1, description="use only so many training images, the same share a class")
    test_images: int | None = Field(None, ge=1, description="use only so many test images, the same share a class")


class AugmentConfig(Section):
    """The brief's three augmentations (R6). A probability of 0 turns one off."""

    flip: Probability = 0.5
    shift_scale_rotate: Probability = 0.5
    shift: float = Field(0.0625, ge=0, lt=1, description="largest shift, as a share of the image's side")
    scale: float = Field(0.1, ge=0, lt=1, description="largest change of scale; 0.1 is 90 to 110 percent")
    rotate: float = Field(15.0, ge=0, le=180, description="largest rotation in degrees")
    cutout: Probability = 0.5
    cutout_size: int = Field(16, ge=1, description="side of the square hole in pixels")


class ModelConfig(Section):
    """Which network: a built-in one, rows of the recipe's own, or path/to/file.py:ClassName."""

    network: str = Field(description="a built-in one, or path/to/file.py:ClassName; or the name of the rows below")
    table: Network | None = Field(None, description="rows of a network of the recipe's own")
    dropout: float | None = Field(None, ge=0, lt=1, description="after every layer; none: the network's own")
    phases: Phases = Field("one", description="of a built-in network's dilated map that a training step computes")


class TrainConfig(Section):
    """How it is trained."""

    epochs: int = Field(12, ge=1)
    batch_size: int = Field(256, ge=1)
    seed: int = Field(0, ge=0, lt=2**32)
    optimizer: Literal["sgd", "adamw", "muon"] = "sgd"
    peak_rate: float = Field(0.6, gt=0, description="the one-cycle schedule's highest learning rate")
    warmup: float = Field(0.2, gt=0, lt=1, description="share of all steps in which the rate rises")
    momentum: float = Field(0.9, ge=0, lt=1, description="Nesterov momentum (sgd), beta 1 (adamw)")
    weight_decay: float = Field(5e-4, ge=0, description="not on norms and biases")
    muon_rate: float = Field(0.08, gt=0, description="highest rate of the dense layers' weights, the classifier's not")
    muon_momentum: float = Field(0.6, ge=0, lt=1, description="of these weights")
    muon_decay: float = Field(0.05, ge=0, description="decoupled weight decay of these weights")
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    label_smoothing_end: float | None = Field(
        None, ge=0, lt=1, description="what it has become, in a straight line, at the last step; none: it stays"
    )
    mixup: float = Field(
        0.0, ge=0, description="of the Beta distribution of the shares; fewer and fewer batches are mixed; 0: none"
    )
    teacher: str | None = Field(
        None, description="a network that ships, or a run folder, whose answers are learnt beside the labels"
    )
    teacher_share: float = Field(0.7, ge=0, le=1, description="of the loss; the rest is the labels'")
    ema: float = Field(0.0, ge=0, lt=1, description="decay a step of the averaged weights; 0: no averaging")
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    workers: int | None = Field(None, ge=0, description="processes that augment; none: chosen for the machine")
    keep: int = Field(2, ge=1, description="how many of the last checkpoints stay on disk")


class Recipe(Section):
    """One experiment: everything that a run can be repeated from."""

    name: str
    description: str = ""
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig
    rules: str | None = Field("brief", description="a built-in rule set or a YAML file; none: no rules")
    train: TrainConfig = TrainConfig()
