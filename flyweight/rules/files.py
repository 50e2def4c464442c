"""A rule about the file that the weights of a network are kept in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from flyweight.analysis import Facts
from flyweight.rules.cures.edit import Edit
from flyweight.rules.cures.lighten import parameter_edits
from flyweight.rules.limits import hidden, largest_layer, registered
from flyweight.rules.rule import Blocks, Evidence, Rule, Verdict


class FileSizeBelow(Rule):
    """The file of the weights has fewer than `limit` bytes.

    Before there is one, it is what the numbers of the network take as they are: parameters and buffers.
    """

    kind: Literal["file_size_below"]
    limit: int = Field(ge=1)

    @property
    def settled(self) -> bool:
        """See :class:`Rule`."""
        return True

    def judge(self, evidence: Evidence, blocks: Blocks) -> Verdict | None:
        """See :class:`Rule`."""
        written = evidence.score.file_bytes if evidence.score is not None else None
        return self._verdict(evidence.facts, written, "") if written is not None else self.check(evidence.facts, blocks)

    def check(self, facts: Facts, blocks: Blocks) -> Verdict:
        """See :class:`Rule`."""
        if facts.unregistered:
            return hidden(self, facts)
        state = facts.graph.trace.model.state_dict().values()
        used = sum(t.numel() * t.element_size() for t in state if hasattr(t, "numel"))
        return self._verdict(facts, used, " without the file's head")

    def _verdict(self, facts: Facts, used: int, what: str) -> Verdict:
        margin = self.limit - used
        if margin > 0:
            return self.passes(f"{used:,} bytes{what}, must be fewer than {self.limit:,}: {margin:,} to spare")
        detail = f"{used:,} bytes{what}, must be fewer than {self.limit:,}: {1 - margin:,} too many"
        return self.fails(detail, largest_layer(facts), 1 - margin)

    def edits(self, facts: Facts, blocks: Blocks) -> Iterator[Edit]:
        """See :class:`Rule`."""
        if facts.unregistered:
            yield registered(facts)
            return
        share = self.limit / max(1, self.limit + self.check(facts, blocks).short)
        yield from parameter_edits(facts, max(2, int(facts.parameters * share * 0.99)))
