"""What a recipe may say: frozen, checked models of the YAML files. No torch here, so that reading one costs nothing.

A recipe is one experiment in one YAML file. The order of the sections is the order in which data flows.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from flyweight.errors import FlyweightError
from flyweight.text import one_line, short

RECIPES = Path(__file__).parent / "recipes"

T = TypeVar("T", bound=BaseModel)
Probability = Annotated[float, Field(ge=0, le=1)]
Phases = Literal["one", "all"]


class Section(BaseModel):
    """A part of a YAML file: it cannot change after it was checked, and it knows every key it may have."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth(cls, value: Any) -> Any:
        # no key is a yes or a no, and Python would take true for the number 1
        if isinstance(value, bool):
            raise ValueError("a yes or a no means nothing here")
        return value


class DataConfig(Section):
    """Which pictures."""

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
    shift: float = Field(0.0625, ge=0, lt=1, description="largest shift, as a share of the picture's side")
    scale: float = Field(0.1, ge=0, lt=1, description="largest change of scale; 0.1 is 90 to 110 percent")
    rotate: float = Field(15.0, ge=0, le=180, description="largest rotation in degrees")
    cutout: Probability = 0.5
    cutout_size: int = Field(16, ge=1, description="side of the square hole in pixels")


class ModelConfig(Section):
    """Which network: a name from the table, or path/to/file.py:ClassName."""

    network: str
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


def names() -> list[str]:
    """Names of the recipes that come with the package, sorted."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        source: a name from :func:`names`, or a path of a YAML file.
        overrides: changes such as ``train.epochs=3``; the value is YAML, too.

    Raises:
        FlyweightError: there is no such recipe, or it says something it may not.
    """
    path = Path(source)
    if str(source) in names():
        path = RECIPES / f"{source}.yaml"
    elif path.suffix not in {".yaml", ".yml"} or not is_file(path):
        name, known = short(str(source), 200), names()
        raise FlyweightError(
            f"no recipe {name!r}{suggestion(name, known)}: the built-in ones are {', '.join(known)};"
            " a file of yours ends in .yaml"
        )
    content = read_yaml(path)
    for override in overrides:
        _override(content, override)
    return parse(Recipe, content, str(path), overrides)


def is_file(path: Path) -> bool:
    """Whether there is a file; a path that no file system could have (too long, a NUL in it) is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        FlyweightError: it cannot be read, is not YAML, has a key twice or is not a mapping.
    """
    try:
        content = _parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FlyweightError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise FlyweightError(f"{path} is not valid YAML: {one_line(error)}") from None
    except ValueError as error:
        raise FlyweightError(f"{path} is not valid YAML{error}") from None
    if not isinstance(content, dict):
        raise FlyweightError(f"{path} holds no keys: it needs 'key: value' lines")
    return content


def write(recipe: Recipe) -> str:
    """The YAML text that :func:`load` reads back to the same recipe."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def parse(model: type[T], content: Mapping[str, Any], where: str, overrides: Sequence[str] = ()) -> T:
    """Check content against a model.

    Args:
        model: what it must be.
        content: keys and values.
        where: the file that they come from.
        overrides: those that were already carried out; what one of them made wrong is not the file's fault.

    Raises:
        FlyweightError: the first thing wrong, in one line, with the nearest key that exists.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        keys = [str(part) for part in first["loc"]]
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            known = _known_keys(model, keys[:-1])
            message = f"there is no such key{suggestion(keys[-1], known)} (known here: {', '.join(known)})"
        elif first["type"] == "model_type":
            message = f"this is a section, with keys of its own, got {short(repr(first['input']), 200)}"
        elif first["type"] == "missing":
            message = "this key is needed"
        else:
            message = f"{message[0].lower()}{message[1:]}, got {short(repr(first['input']), 200)}"
        key = ".".join(keys)
        for override in overrides:
            changed = override.partition("=")[0]
            if f"{key}.".startswith(f"{changed}.") or f"{changed}.".startswith(f"{key}."):
                where = f"--set {short(override, 200)}"
        raise FlyweightError(f"{where}: {key or 'the file'}: {message}") from None


def suggestion(word: str, known: Sequence[str]) -> str:
    """``" (did you mean 'x'?)"`` or nothing."""
    near = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _known_keys(model: type[BaseModel], keys: Sequence[str]) -> list[str]:
    for key in keys:
        field = model.model_fields.get(key)
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            return []
        model = field.annotation
    return list(model.model_fields)


def _override(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    change = f"--set {short(override, 200)}"
    if not equals or not key:
        raise FlyweightError(f"{change}: write it as section.key=value, for example train.epochs=3")
    *sections, last = key.split(".")
    target = content
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise FlyweightError(f"{change}: {section} is not a section")
    try:
        target[last] = _parse_yaml(value)
    except ValueError as error:
        raise FlyweightError(f"{change}: the value is not valid YAML{error}") from None


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice; YAML itself would drop the first one without a word."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    problem = f"the key {short(key.value, 80)!r} is there twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return node


def _parse_yaml(text: str) -> Any:
    """Read YAML.

    Raises:
        ValueError: why it cannot be read, with the line where that is known, to put after a sentence.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        where = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise ValueError(f"{where}: {error.problem}") from None
    except Exception as error:  # a date that is none, brackets too deep: PyYAML lets what Python raises pass
        raise ValueError(f": {one_line(error)}") from None
