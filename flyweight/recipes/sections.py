"""What a recipe may say: frozen, checked models of the YAML files. No torch here, so that reading one costs nothing.

A recipe is one experiment in one YAML file. The order of the sections is the order in which data flows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from flyweight.recipes.network import Network
from flyweight.schema import Section

Probability = Annotated[float, Field(ge=0, le=1)]
Phases = Literal["one", "all"]


class DataConfig(Section):
    """Which images."""

    name: str | None = Field(None, description="of a data set; none: what the path holds, or the default, CIFAR-10")
    path: Path | None = Field(None, description="a folder or archive to read instead of the known places")
    hold_out: int = Field(
        0, ge=0, description="training images set aside to choose by; they replace the test set, which is then not read"
    )
    size: int | None = Field(
        None,
        ge=8,
        le=1024,
        description="side of the network's square images in pixels; none: chosen by the set's images",
    )
    resize: Literal["squash", "crop", "pad"] | None = Field(
        None, description="what becomes of images that are not square; none: chosen by the set's proportions"
    )
    test_share: float = Field(
        0.15, gt=0, lt=1, description="of the images of each class, set aside as test images where the set has none"
    )
    validation_share: float = Field(
        0.1, gt=0, lt=1, description="of the training images of each class, as validation images where it has none"
    )
    split_seed: int = Field(0, ge=0, description="of these two choices")
    image_column: str | None = Field(None, description="of a parquet set; none: found by its type")
    label_column: str | None = Field(None, description="of a parquet set; none: found by its type")
    train_images: int | None = Field(None, ge=1, description="use only so many training images, the same share a class")
    test_images: int | None = Field(None, ge=1, description="use only so many test images, the same share a class")


class AugmentConfig(Section):
    """The brief's three augmentations (R6). A probability of 0 turns one off."""

    flip: Probability = Field(0.5, description="probability that an image is mirrored, left to right")
    shift_scale_rotate: Probability = Field(0.5, description="probability that it is moved, scaled and turned")
    shift: float = Field(0.0625, ge=0, lt=1, description="largest shift, as a share of the image's side")
    scale: float = Field(0.1, ge=0, lt=1, description="largest change of scale; 0.1 is 90 to 110 percent")
    rotate: float = Field(15.0, ge=0, le=180, description="largest rotation in degrees")
    cutout: Probability = Field(
        0.5, description="probability of a square hole, filled with the mean of the training set"
    )
    cutout_size: int | None = Field(
        None, ge=1, description="side of the square hole in pixels; none: half of the image's smaller side"
    )

    def hole(self, height: int, width: int) -> int:
        """Side of the square hole, in pixels, in images of so many pixels."""
        return max(1, min(height, width) // 2) if self.cutout_size is None else self.cutout_size


class ModelConfig(Section):
    """Which network: a built-in one, rows of the recipe's own, or the user's, such as path/to/file.py:Net(width=8)."""

    network: str = Field(description="a built-in one, or path/to/file.py:Net(width=8); or the name of the rows below")
    table: Network | None = Field(None, description="rows of a network of the recipe's own")
    dropout: float | None = Field(None, ge=0, lt=1, description="after every layer; none: the network's own")
    phases: Phases = Field("one", description="of a built-in network's dilated map that a training step computes")


class TrainConfig(Section):
    """How it is trained."""

    epochs: int = Field(12, ge=1, description="passes over the training images")
    batch_size: int | None = Field(256, ge=1, description="images a step; none: chosen for the data")
    seed: int = Field(0, ge=0, lt=2**32, description="of all that is drawn: weights, order, augmentation, dropout")
    start: str | None = Field(
        None, description="a network that ships, or a run folder, whose weights are taken where names and shapes fit"
    )
    optimizer: Literal["sgd", "adamw", "muon"] = Field(
        "sgd", description="muon: for the dense layers' weights but the classifier's, and sgd for all others"
    )
    learning_rate: float = Field(0.6, gt=0, description="the highest one of the one-cycle schedule")
    warmup: float = Field(0.2, gt=0, lt=1, description="share of all steps in which the learning rate rises")
    start_divisor: float = Field(25, ge=1, description="the first learning rate is the highest one divided by this")
    end_divisor: float = Field(1e4, ge=1, description="the last learning rate is the first one divided by this")
    anneal: Literal["linear", "cos"] = Field("linear", description="the shape of the schedule's rise and fall")
    momentum: float = Field(0.9, ge=0, lt=1, description="Nesterov momentum (sgd, muon), beta 1 (adamw)")
    adamw_beta2: float = Field(0.999, ge=0, lt=1, description="decay a step of adamw's mean of squared gradients")
    weight_decay: float = Field(5e-4, ge=0, description="not on norms and biases")
    muon_learning_rate: float = Field(
        0.08, gt=0, description="the highest one of the dense layers' weights, the classifier's not"
    )
    muon_momentum: float = Field(0.6, ge=0, lt=1, description="of these weights")
    muon_decay: float = Field(0.05, ge=0, description="decoupled weight decay of these weights")
    muon_steps: int = Field(3, ge=1, description="of the iteration that makes their updates orthogonal")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="share of the label that all classes get alike")
    label_smoothing_end: float | None = Field(
        None, ge=0, lt=1, description="what it has become, in a straight line, at the last step; none: it stays"
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: in the loss of the labels each class weighs as much, however few its images"
    )
    sampling: Literal["shuffle", "balanced"] = Field(
        "shuffle", description="each image once an epoch; balanced: each class equally often, in as many steps"
    )
    mixup: float = Field(
        0.0, ge=0, description="of the Beta distribution of the shares; fewer and fewer batches are mixed; 0: none"
    )
    teacher: str | None = Field(
        None, description="a network that ships, or a run folder, whose answers are learnt beside the labels"
    )
    teacher_share: float = Field(0.7, ge=0, le=1, description="of the loss; the rest is the labels'")
    teacher_temperature: float = Field(
        2.0, gt=0, description="what both answers are divided by; the higher, the more the unlikely classes count"
    )
    teacher_cycle: int | None = Field(
        None, ge=1, description="it is asked about so many augmented epochs, which then repeat; none: in each step"
    )
    ema: float = Field(0.0, ge=0, lt=1, description="decay a step of the averaged weights; 0: no averaging")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of a step's products; auto: bfloat16 where this machine gains from it"
    )
    workers: int | None = Field(None, ge=0, description="processes that augment; none: chosen for the machine")
    keep: int = Field(2, ge=1, description="how many of the last checkpoints stay on disk")
    epoch_test_images: int | None = Field(
        None, ge=1, description="tested after each epoch but the last, the same share a class; none: all, as at the end"
    )
    loss_every: int = Field(20, ge=1, description="steps between two looks at the loss; each waits for its step to end")

    @field_validator("teacher_cycle")
    @classmethod
    def _asked_once(cls, value: int | None, info: ValidationInfo) -> int | None:
        # an answer is kept by the number of its image
        if value is not None and info.data.get("mixup"):
            raise ValueError("the answers about mixed images cannot be kept: leave it out, or train.mixup")
        if value is not None and info.data.get("sampling") == "balanced":
            raise ValueError("balanced sampling shows an image several times an epoch, each time otherwise: choose one")
        return value

    @property
    def cycle(self) -> int | None:
        """Epochs after which the augmented images come again; none: they never do."""
        return None if self.teacher is None else self.teacher_cycle

    @field_validator("sampling")
    @classmethod
    def _balanced_once(cls, value: str, info: ValidationInfo) -> str:
        if value == info.data.get("class_weights") == "balanced":
            raise ValueError("train.class_weights is balanced already, and rare classes would count twice: choose one")
        return value


class Recipe(Section):
    """One experiment: everything that a run can be repeated from."""

    name: str = Field(description="what its runs are called")
    description: str = Field("", description="a line for the reports")
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig
    rules: str | None = Field("brief", description="a built-in rule set or a YAML file; none: no rules")
    train: TrainConfig = TrainConfig()
