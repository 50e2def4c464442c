"""Rules about blocks, and which submodules are blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from typing import Literal

from pydantic import Field

from flyweight.analysis import ConvolutionLayer, Facts
from flyweight.rules.cures.edit import Edit, together
from flyweight.rules.cures.lighten import count_edits
from flyweight.rules.cures.reshape import end_edits
from flyweight.rules.rule import Blocks, Rule, Verdict
from flyweight.schema import suggestion
from flyweight.text import some

Table = dict[str, tuple[str, ...]]


class BlockRule(Rule):
    """A rule about blocks: its own, or those of the rule set.

    A 1x1 that fits what a block reads to the sum at its end is none of the block's convolutions unless projections are
    counted, and neither is a layer on a map of one place, such as the gate of a squeeze and excite.
    """

    blocks: Blocks | None = None
    projections: Literal["apart", "counted"] = "apart"

    def found(self, facts: Facts, blocks: Blocks) -> tuple[dict[str, list[ConvolutionLayer]], str]:
        """The convolutions of each block, and how the blocks were found where the rule set's names are not there.

        Raises:
            LookupError: a block is not there; its name.
        """
        table, note = self.table(facts, blocks)
        if not table:
            raise LookupError("auto")
        for name, paths in table.items():
            missing = next((path for path in paths if path not in facts.submodules), None)
            if missing is not None or not paths:
                raise LookupError(name if len(paths) < 2 else missing)
        return {name: self._layers(facts, paths) for name, paths in table.items()}, note

    def table(self, facts: Facts, blocks: Blocks) -> tuple[Table, str]:
        """The submodules of each block that it judges."""
        own = self.blocks
        if own is None or (own and not isinstance(own, str) and all(isinstance(place, int) for place in own)):
            whole, note = _table(facts, blocks)
            if own is None:
                return whole, note
            names = list(whole)
            return {
                (name := names[place - 1] if place <= len(names) else f"block {place}"): whole.get(name, ())
                for place in own
                if isinstance(place, int)
            }, note
        if isinstance(own, tuple) and not isinstance(blocks, str):
            whole, note = _table(facts, blocks)
            return {str(name): whole.get(str(name), (str(name),)) for name in own}, note
        return _table(facts, own)

    def _layers(self, facts: Facts, paths: tuple[str, ...]) -> list[ConvolutionLayer]:
        """Convolution layers that ran in some submodules, in order."""
        return [
            layer
            for layer in facts.convolution_layers
            if any(layer.parts[0].path == path or layer.parts[0].path.startswith(f"{path}.") for path in paths)
            and not layer.connected
            and not (layer.projection and self.projections == "apart")
        ]

    def missing(self, facts: Facts, block: str, blocks: Blocks) -> Verdict:
        """A failure that tells which submodules there are, and the line that would name them."""
        top = [path for path in facts.submodules if "." not in path]
        detail = f"there is no submodule {block!r}{suggestion(block, top)}: the network has {some(top) or 'none'}"
        names = list(_table(facts, blocks)[0])
        plain = plain_blocks(facts, len(names))
        cure = f"name the block {block!r}, or list other blocks"
        if plain and all(len(paths) == 1 for paths in plain):
            cure = f"say which the blocks are: --blocks {','.join(paths[0] for paths in plain)}"
        elif plain:
            pairs = (f"{name}: [{', '.join(paths)}]" for name, paths in zip(names, plain, strict=False))
            cure = f"say which the blocks are, in the rule set: blocks: {{{', '.join(pairs)}}}"
        else:
            cure = (
                f"name the block {block!r}, or say which the blocks are: --blocks {','.join(holders(facts)) or 'NAMES'}"
            )
        return self.fails(detail, block, cure=cure)


class ConvolutionsPerBlock(BlockRule):
    """Each block has exactly so many convolutions; a depthwise separable pair counts as one."""

    kind: Literal["convolutions_per_block"]
    count: int = Field(ge=1)

    def check(self, facts: Facts, blocks: Blocks) -> Verdict:
        """See :class:`Rule`."""
        unknown = self.opaque(facts)
        if unknown:
            return unknown
        try:
            found, note = self.found(facts, blocks)
        except LookupError as error:
            return self.missing(facts, str(error.args[0]), blocks)
        wrong = {name: layers for name, layers in found.items() if len(layers) != self.count}
        if not wrong:
            return self.passes(", ".join(f"{name} {len(layers)}" for name, layers in found.items()) + note)
        told = [
            f"{name} has {len(layers)}, must have {self.count}: {', '.join(layer.name for layer in layers) or 'none'}"
            for name, layers in wrong.items()
        ]
        short = sum(abs(len(layers) - self.count) for layers in wrong.values())
        return self.fails("; ".join(told) + note, next(iter(wrong)), short)

    def edits(self, facts: Facts, blocks: Blocks) -> Iterator[Edit]:
        """See :class:`Rule`."""
        try:
            found, _ = self.found(facts, blocks)
        except LookupError:
            return
        paths = self.table(facts, blocks)[0]
        ways = [
            list(count_edits(facts, name, layers, self.count, paths[name][-1]))
            for name, layers in found.items()
            if len(layers) != self.count
        ]
        if len(ways) > 1 and all(ways):
            yield together([way[0] for way in ways])
            yield together([way[-1] for way in ways])
        for way in ways:
            yield from way


class _BlockEnds(BlockRule):
    """A rule about the last convolution of each block."""

    def good(self, layer: ConvolutionLayer) -> str:
        """Why a block may end so; empty where it may not."""
        raise NotImplementedError

    def bad(self, block: str, layer: ConvolutionLayer) -> str:
        """What is wrong with the end of a block."""
        raise NotImplementedError

    def check(self, facts: Facts, blocks: Blocks) -> Verdict:
        """See :class:`Rule`."""
        unknown = self.opaque(facts)
        if unknown:
            return unknown
        try:
            found, note = self.found(facts, blocks)
        except LookupError as error:
            return self.missing(facts, str(error.args[0]), blocks)
        empty = next((name for name, layers in found.items() if not layers), None)
        if empty is not None:
            return self.fails(f"{empty} has no convolution{note}", empty, len(found))
        wrong = [(name, layers[-1]) for name, layers in found.items() if not self.good(layers[-1])]
        if not wrong:
            return self.passes(", ".join(f"{name} {self.good(layers[-1])}" for name, layers in found.items()) + note)
        detail = "; ".join(self.bad(name, layer) for name, layer in wrong)
        return self.fails(detail + note, wrong[0][1].name, len(wrong))

    def ends(self, facts: Facts, blocks: Blocks) -> list[ConvolutionLayer]:
        """The last convolutions that are at fault."""
        try:
            found, _ = self.found(facts, blocks)
        except LookupError:
            return []
        return [layers[-1] for layers in found.values() if layers and not self.good(layers[-1])]


class BlocksEndStridedOrDilated(_BlockEnds):
    """The last convolution of each block has a stride of 2 or more, or is dilated."""

    kind: Literal["blocks_end_strided_or_dilated"]

    def good(self, layer: ConvolutionLayer) -> str:
        """See :class:`_BlockEnds`."""
        return "stride" if layer.strided else "dilated" if layer.dilated else ""

    def bad(self, block: str, layer: ConvolutionLayer) -> str:
        """See :class:`_BlockEnds`."""
        detail = f"the last convolution of {block}, {layer.name}, has stride 1 and dilation 1"
        steps = max((max(part.dilation) for part in layer.parts if prod(part.kernel) > 1), default=1)
        return f"{detail[:-1]}{steps}, with which all taps but one see only padding" if steps > 1 else detail

    def edits(self, facts: Facts, blocks: Blocks) -> Iterable[Edit]:
        """See :class:`Rule`."""
        last = self.ends(facts, blocks)
        return end_edits(facts, last, None) if last else ()


class BlocksEndStrided(_BlockEnds):
    """The last convolution of each block has this stride."""

    kind: Literal["blocks_end_strided"]
    stride: int = Field(2, ge=2)

    def good(self, layer: ConvolutionLayer) -> str:
        """See :class:`_BlockEnds`."""
        steps = {max(part.stride) for part in layer.parts if part.strided}
        return f"stride {self.stride}" if steps == {self.stride} else ""

    def bad(self, block: str, layer: ConvolutionLayer) -> str:
        """See :class:`_BlockEnds`."""
        steps = max(max(part.stride) for part in layer.parts)
        return f"the last convolution of {block}, {layer.name}, has stride {steps}, must have {self.stride}"

    def edits(self, facts: Facts, blocks: Blocks) -> Iterable[Edit]:
        """See :class:`Rule`."""
        last = self.ends(facts, blocks)
        return end_edits(facts, last, self.stride) if last else ()


def holders(facts: Facts) -> list[str]:
    """The network's own children that hold convolutions, in the order in which they run.

    A child that holds all of them is looked into, as ``features`` of many networks is.
    """
    paths = [layer.parts[0].path for layer in facts.convolution_layers if not layer.connected]
    prefix = ""
    while True:
        found = list(dict.fromkeys(prefix + path[len(prefix) :].split(".")[0] for path in paths))
        if len(found) != 1 or all(path == found[0] for path in paths):
            return found
        prefix = f"{found[0]}."


def plain_blocks(facts: Facts, count: int) -> list[tuple[str, ...]] | None:
    """So many blocks where they are plain to see: the children, or what lies between two down-samplings of theirs."""
    children = holders(facts)
    if len(children) == count:
        return [(child,) for child in children]
    groups: list[list[str]] = [[]]
    for child in children:
        groups[-1].append(child)
        if _shrinks(facts, child):
            groups.append([])
    groups = [group for group in groups if group]
    return [tuple(group) for group in groups] if len(groups) == count else None


def _shrinks(facts: Facts, child: str) -> bool:
    """Whether a map is smaller behind a child's convolutions, or behind what pools it before the next."""
    parts = [part for layer in facts.convolution_layers for part in layer.parts if not layer.connected]
    mine = [part for part in parts if part.path == child or part.path.startswith(f"{child}.")]
    after = [part for part in parts if part.node.index > mine[-1].node.index]
    following = after[0].input_size if after else mine[-1].output_size
    return prod(following) < prod(mine[0].input_size)


def _table(facts: Facts, blocks: Blocks) -> tuple[Table, str]:
    """Blocks with their submodules; where none of their names is there, those that are plain to see, which is told."""
    if isinstance(blocks, str):
        return {child: (child,) for child in holders(facts)}, ""
    table: Table = dict(blocks) if isinstance(blocks, dict) else {str(name): (str(name),) for name in blocks}
    if not any(path in facts.submodules for paths in table.values() for path in paths):
        plain = plain_blocks(facts, len(table))
        if plain is not None:
            found = dict(zip(table, plain, strict=True))
            told = (f"{name} is {' and '.join(paths)}" for name, paths in found.items())
            return found, f" ({', '.join(told)})"
    return table, ""
