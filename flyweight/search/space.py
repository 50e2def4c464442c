"""What a search may draw: choices for each number of a table's rows, read from YAML."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from flyweight.networks.builtin import NETWORKS
from flyweight.networks.layers import KINDS
from flyweight.recipes.network import Network, Row
from flyweight.recipes.sections import Phases
from flyweight.rules.ruleset import RuleSet
from flyweight.schema import Section, parse, read_yaml, suggestion
from flyweight.search.arithmetic import COSTS

Padding = Literal["same", "none"]


class Space(Section):
    """Choices. The first of each list is the usual one and is drawn half the time, the others equally often."""

    blocks: tuple[int, ...] = Field((4, 2, 3, 5), min_length=1, description="how many blocks a network has")
    rows: tuple[int, ...] = Field((3, 1, 2, 4), min_length=1, description="how many rows a block has")
    kinds: tuple[str, ...] = Field(("dense", "separable"), min_length=1, description="kinds of layers")
    widths: tuple[int, ...] = Field(
        (16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192),
        min_length=1,
        description="channels that go out; all equally often",
    )
    kernels: tuple[Literal[1, 3, 5, 7], ...] = Field((3, 1, 5), min_length=1, description="taps on each axis")
    strides: tuple[int, ...] = Field((1, 2), min_length=1, description="steps between two positions of a kernel")
    dilations: tuple[int, ...] = Field((1, 2, 4), min_length=1, description="distances between two taps of a kernel")
    paddings: tuple[Padding, ...] = Field(
        ("same", "none"), min_length=1, description="zeros that keep the map's size at stride 1, or none"
    )
    residuals: tuple[bool, ...] = Field((True, False), min_length=1, description="where a layer's shapes allow it")
    phases: tuple[Phases, ...] = Field(
        ("one",), min_length=1, description="of a dilated map that a training step computes"
    )
    step_macs: int | None = Field(
        32_000,
        ge=1,
        description="most multiply-accumulates forwards of a training step, for each pixel of an image: what costs"
        " more would use up the time of many others; none: any",
    )
    cost: float | None = Field(
        1.25,
        gt=0,
        description="most of the MACs or the memory that are minimised, as a multiple of those of the network that all"
        " are compared with; none: any",
    )
    step_time: float | None = Field(
        1.5,
        gt=0,
        description="most time of a training step, as a multiple of that of the network that all are compared with,"
        " measured here: layers of equal arithmetic differ widely; none: any",
    )

    @field_validator("blocks", "rows", "widths", "strides", "dilations")
    @classmethod
    def _positive(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if min(values) < 1:
            raise ValueError("every choice must be at least 1")
        return values

    @field_validator("kinds")
    @classmethod
    def _known(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        known = [kind for kind in KINDS if kind in COSTS]
        for kind in kinds:
            if kind not in known:
                raise ValueError(
                    f"there is no kind of layer {kind!r}{suggestion(kind, known)}, only {', '.join(known)}"
                )
        return kinds

    @field_validator("*")
    @classmethod
    def _once(cls, values: Any) -> Any:
        if isinstance(values, tuple) and len(set(values)) < len(values):
            raise ValueError("a choice is there twice")
        return values

    def narrowed(self, ruleset: RuleSet) -> Space:
        """The space without what such rules forbid in any case: other numbers of blocks and rows than they name."""
        changes: dict[str, tuple[int, ...]] = {}
        for rule in ruleset.rules:
            named = getattr(rule, "blocks", None) or ruleset.blocks
            if rule.kind == "convolutions_per_block" and named == tuple(f"c{n + 1}" for n in range(len(named))):
                changes["blocks"] = tuple(n for n in self.blocks if n == len(named)) or self.blocks
                changes["rows"] = tuple(n for n in self.rows if n == getattr(rule, "count", n)) or self.rows
        return self.model_copy(update=changes)

    def choices(self, rungs: Sequence[tuple[int, int]]) -> dict[str, tuple[Any, ...]]:
        """What each number of a trial could have been, by its name without the row that it stands in.

        Args:
            rungs: epochs and seed of each training of a network.
        """
        return {
            "width": self.widths,
            "kind": self.kinds,
            "kernel": self.kernels,
            "stride": self.strides,
            "dilation": self.dilations,
            "padding": self.paddings,
            # where a way around a layer does not fit there is none, whatever the choices are
            "residual": (True, False),
            "phases": self.phases,
            "epochs": tuple(sorted({epochs for epochs, _ in rungs})),
            "seed": tuple(sorted({seed for _, seed in rungs})),
        }

    def holds(self, network: Network) -> bool:
        """Whether the network could be drawn."""
        plain = network.order == "norm-relu" and network.dropout is None and network.pool is None
        return plain and len(network.blocks) in self.blocks and all(map(self._holds_block, network.blocks))

    def _holds_block(self, rows: tuple[Row, ...]) -> bool:
        return len(rows) in self.rows and all(
            row.kind in self.kinds
            and row.width in self.widths
            and row.kernel in self.kernels
            and row.stride in self.strides
            and row.dilation in self.dilations
            and padding(row) in self.paddings
            and row.residual in self.residuals
            for row in rows
        )


@dataclass(frozen=True)
class Candidate:
    """A network that a search may train.

    Attributes:
        network: its rows.
        phases: of a dilated map that a training step computes.
    """

    network: Network
    phases: Phases = "one"

    @property
    def key(self) -> str:
        """The same for the same network, whoever draws it: ten hexadecimal digits."""
        text = json.dumps(self.as_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def as_json(self) -> dict[str, Any]:
        """What :func:`candidate` reads."""
        return {"table": self.network.model_dump(mode="json"), "phases": self.phases}

    def choices(self) -> dict[str, str | int | bool]:
        """Each number of it by its name, such as ``c1.2.width``: what a trial keeps beside the table."""
        found: dict[str, str | int | bool] = {"phases": self.phases}
        for block, rows in self.network.named():
            for place, row in enumerate(rows, start=1):
                values = {**row.model_dump(), "padding": padding(row)}
                found |= {f"{block}.{place}.{key}": value for key, value in values.items()}
        return found


def candidate(content: Any) -> Candidate:
    """The network that :meth:`Candidate.as_json` wrote."""
    return Candidate(Network.model_validate(content["table"]), content["phases"])


def padding(row: Row) -> str:
    """``same``, ``none``, or what else a row's padding is."""
    return {None: "same", 0: "none"}.get(row.padding, str(row.padding))


def load(path: Path | None) -> Space:
    """The space of a YAML file; none: the built-in one.

    Raises:
        FlyweightError: it cannot be read, or says something that a space may not.
    """
    return Space() if path is None else parse(Space, read_yaml(path), str(path))


def known(space: Space) -> Iterator[tuple[str, Candidate]]:
    """The built-in networks that lie in the space, by name: where an engineer would begin."""
    return ((name, Candidate(network)) for name, network in NETWORKS.items() if space.holds(network))
