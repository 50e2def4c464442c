"""Networks to try next: drawn at random or bred from the best ones, and made legal by small random steps."""

from __future__ import annotations

import random
from collections.abc import Callable, Container, Sequence
from typing import TypeVar

from flyweight.errors import FlyweightError
from flyweight.recipes.network import Network, Row
from flyweight.search.legal import Judge
from flyweight.search.space import Candidate

T = TypeVar("T")
STEPS, STARTS = 400, 50
"""Small steps towards a legal network before another start, and starts before it is given up."""
FRESH, CROSSED = 0.1, 0.25
"""Shares of networks drawn at random and bred from two; the others are one network changed a little."""
AMONG = 16
"""Legal networks of which the one that promises most is trained, where there is a network to beat."""
CHANGES = (1, 2, 3, 4)
"""How many times a network that is bred from others is changed, each equally often: after one change hardly any
promises more than its parent."""
WHOLE = 0.7
"""Share of changes of width that take in all layers of that width in a row: a part of them loses a way around."""

SLOW = "a training step is fast enough on this machine"

Blocks = list[list[Row]]


class ExhaustedError(FlyweightError):
    """There is no network left to try."""


class Proposer:
    """Proposes networks of a space that a judge finds legal.

    Args:
        judge: who knows space and rules.
        seed: of all that is drawn.
        fast: whether a step of the network's training is fast enough on this machine.
    """

    def __init__(self, judge: Judge, seed: int, fast: Callable[[Candidate], bool] = lambda one: True) -> None:
        self.judge, self.space, self.fast = judge, judge.space, fast
        self.random = random.Random(seed)
        self._refused: set[str] = set()

    def propose(self, best: Sequence[Candidate], tried: Container[str]) -> Candidate:
        """A legal network that nobody has tried, proved.

        Args:
            best: that it may be bred from, the best one first.
            tried: keys of networks that are not wanted again.

        Raises:
            ExhaustedError: all have been tried.
            FlyweightError: none is found.
        """
        for start in range(STARTS):
            # where breeding only leads to what was tried already, others come in
            parents = best if start < STARTS // 2 and self.random.random() >= FRESH else ()
            for legal in self._several(parents, tried):
                if self.judge.prove(legal).passed:
                    if self.fast(legal):
                        return legal
                    self.judge.refused[SLOW] += 1
                # what promises much is drawn again and again: nobody proves and times it twice
                self._refused.add(legal.key)
        reasons = self.judge.rejected + self.judge.refused
        told = ", ".join(f"{name}: {count:,}" for name, count in reasons.most_common(3))
        if not reasons:
            raise ExhaustedError("every network of the space has been tried: widen it with --space")
        raise FlyweightError(
            f"the space holds no legal network that was found: of {self.judge.drawn:,} drawn none obeys all rules"
            f" ({told}): widen it with --space, or relax the rules"
        )

    def _several(self, best: Sequence[Candidate], tried: Container[str]) -> list[Candidate]:
        """Legal networks, what promises most first; one alone where there is no network to beat."""
        found: dict[str, tuple[float, Candidate]] = {}
        for _ in range(AMONG):
            legal = self._legal(self._draft(best), tried)
            if legal is None:
                break  # there are few left, and every further try would take all its steps
            promise = self.judge.promise(legal)
            if promise is None:
                return [legal]
            found[legal.key] = promise, legal
        return [legal for _, legal in sorted(found.values(), key=lambda one: -one[0])]

    def _draft(self, best: Sequence[Candidate]) -> Candidate:
        if not best:
            return self._fresh()
        draft = self._chosen(best)
        if len(best) > 1 and self.random.random() < CROSSED:
            draft = self._crossed(draft, self._chosen(best))
        for _ in range(self.random.choice(CHANGES)):
            draft = self._changed(draft)
        return draft

    def _chosen(self, best: Sequence[Candidate]) -> Candidate:
        """The best of two drawn: the better half is chosen three times as often as the other."""
        return best[min(self.random.randrange(len(best)) for _ in range(2))]

    def _legal(self, draft: Candidate, tried: Container[str]) -> Candidate | None:
        """Small steps of which none leads further away from the rules, until it is legal and new."""
        excess = self.judge.excess(draft)
        for _ in range(STEPS):
            if not excess and draft.key not in tried and draft.key not in self._refused:
                return draft
            step = self._changed(draft)
            after = self.judge.excess(step)
            if after <= excess:
                draft, excess = step, after
        return None

    def _usual(self, choices: Sequence[T]) -> T:
        return choices[0] if self.random.random() < 0.5 else self.random.choice(choices)

    def _row(self, width: int) -> Row:
        space = self.space
        return Row(
            width=width,
            kind=self._usual(space.kinds),
            kernel=self._usual(space.kernels),
            # one in four of the layers alone: a map of 32x32 is 2x2 after four strides
            stride=space.strides[0] if self.random.random() < 0.75 else self.random.choice(space.strides),
            dilation=self._usual(space.dilations),
            padding=0 if self._usual(space.paddings) == "none" else None,
            residual=self._usual(space.residuals),
        )

    def _fresh(self) -> Candidate:
        space, count = self.space, self._usual(self.space.blocks)
        widths = sorted(self.random.choices(space.widths, k=count))
        blocks = [[self._row(width) for _ in range(self._usual(space.rows))] for width in widths]
        return self._made(blocks, Candidate(Network(blocks=((Row(width=1),),)), self._usual(space.phases)))

    def _crossed(self, one: Candidate, other: Candidate) -> Candidate:
        """The first blocks of one network and the last ones of another."""
        head, tail = self._blocks(one), self._blocks(other)
        cut = self.random.randint(0, min(len(head), len(tail)))
        return self._made(head[:cut] + tail[cut:], one)

    def _changed(self, candidate: Candidate) -> Candidate:
        """The network with one or two small changes."""
        blocks, phases = self._blocks(candidate), candidate.phases
        for _ in range(self.random.choice((1, 1, 2))):
            change: Callable[[Blocks], None] = self.random.choices(
                (self._rewidth, self._rerow, self._move_stride, self._resize, self._reblock), (4, 6, 1, 1, 1)
            )[0]
            change(blocks)
        if len(self.space.phases) > 1 and self.random.random() < 0.1:
            phases = self.random.choice(self.space.phases)
        return self._made(blocks, Candidate(candidate.network, phases))

    def _rewidth(self, blocks: Blocks) -> None:
        """Another width for a layer and those after it that had the same: so that ways around them stay."""
        rows = [(block, place) for block in blocks for place in range(len(block))]
        start = self.random.randrange(len(rows))
        old = rows[start][0][rows[start][1]].width
        if self.random.random() < WHOLE:
            while start and rows[start - 1][0][rows[start - 1][1]].width == old:
                start -= 1
        widths = sorted(self.space.widths)
        near = [width for width in widths if width != old]
        if not near:
            return
        # mostly a neighbour in the list
        nearest = sorted(near, key=lambda width: abs(width - old))[:4]
        new = self.random.choice(nearest if self.random.random() < 0.8 else near)
        for block, place in rows[start:]:
            if block[place].width != old:
                break
            block[place] = block[place].model_copy(update={"width": new})

    def _rerow(self, blocks: Blocks) -> None:
        """Another kind, kernel, stride, dilation, padding or way around for one layer."""
        space, block = self.space, self.random.choice(blocks)
        place = self.random.randrange(len(block))
        choices = {
            "kind": space.kinds,
            "kernel": space.kernels,
            "stride": space.strides,
            "dilation": space.dilations,
            "padding": tuple(0 if name == "none" else None for name in space.paddings),
            "residual": space.residuals,
        }
        key = self.random.choice([key for key, values in choices.items() if len(values) > 1] or ["kind"])
        block[place] = block[place].model_copy(update={key: self.random.choice(choices[key])})

    def _move_stride(self, blocks: Blocks) -> None:
        """A stride one layer earlier or later."""
        rows = [(block, place) for block in blocks for place in range(len(block))]
        strided = [at for at, (block, place) in enumerate(rows) if block[place].stride > 1]
        if not strided:
            return
        at = self.random.choice(strided)
        to = at + self.random.choice((-1, 1))
        if 0 <= to < len(rows):
            (one, here), (other, there) = rows[at], rows[to]
            strides = one[here].stride, other[there].stride
            one[here] = one[here].model_copy(update={"stride": strides[1]})
            other[there] = other[there].model_copy(update={"stride": strides[0]})

    def _resize(self, blocks: Blocks) -> None:
        """A row more or less in a block."""
        block = self.random.choice(blocks)
        count = self.random.choice(self.space.rows)
        del block[max(1, count) :]
        while len(block) < count:
            block.insert(self.random.randrange(len(block) + 1), self._row(block[-1].width))

    def _reblock(self, blocks: Blocks) -> None:
        """A block more or less."""
        count = self.random.choice(self.space.blocks)
        while len(blocks) > count:
            del blocks[self.random.randrange(len(blocks))]
        while len(blocks) < count:
            blocks.insert(self.random.randrange(len(blocks) + 1), list(self.random.choice(blocks)))

    def _made(self, blocks: Blocks, like: Candidate) -> Candidate:
        """A network of the rows, each made possible: a way around only where it fits, nothing said twice."""
        width, fitted = self.judge.spec.channels, []
        for block in blocks:
            rows = []
            for row in block:
                rows.append(self._possible(row, width))
                width = row.width
            fitted.append(tuple(rows))
        return Candidate(Network(blocks=tuple(fitted)), like.phases)

    def _possible(self, row: Row, inputs: int) -> Row:
        space, changes = self.space, dict[str, object]()
        if row.kernel == 1:
            # of one tap nothing is dilated, padded or done to each channel alone
            plain = (("dilation", 1, space.dilations), ("kind", "dense", space.kinds))
            changes = {key: value for key, value, allowed in plain if value in allowed}
            changes |= {"padding": None} if "same" in space.paddings else {}
        fits = row.width == inputs and row.stride == 1 and changes.get("padding", row.padding) is None
        if row.residual and not fits:
            changes["residual"] = False
        return row.model_copy(update=changes) if changes else row

    def _blocks(self, candidate: Candidate) -> Blocks:
        """The rows, to be changed. Where a way around does not fit there is the usual choice, should it fit again."""
        width, blocks = self.judge.spec.channels, list[list[Row]]()
        for given in candidate.network.blocks:
            blocks.append([])
            for row in given:
                fits = self._possible(row.model_copy(update={"residual": True}), width).residual
                blocks[-1].append(row if fits else row.model_copy(update={"residual": self.space.residuals[0]}))
                width = row.width
        return blocks
