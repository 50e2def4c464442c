"""How much of a proof is run, and what it found: a short sample in `make test`, all of it in `make torture`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WHERE = "FLYWEIGHT_TORTURE"
"""Name of the environment variable with the folder that the figures go to; without it samples are run."""

FOUND = "found.jsonl"
"""The file there: a row a part of a proof."""

PROOFS = {
    "kills": "killed at any moment, a job goes on from its last checkpoint and ends as if nothing had happened",
    "system-calls": "whatever the system refuses, and wherever it stops, the old file or the new one is there, whole",
    "every-step": "a training goes on from every step, and nothing of its state is there for nothing",
    "damaged-files": "a damaged file is told in one line",
    "hostile-images": "an image is decoded rightly or refused in one line, in little memory",
    "hostile-files": "a file from somebody else runs no code and writes nowhere but where it was told",
    "fuzzed-calls": "any call ends in a documented exit code, without a traceback",
    "mutations": "a promise that is taken out of the program is missed by a test",
}
"""What is proved, by the name of each proof."""


def chosen(full: Sequence[Any], sample: Sequence[Any]) -> Sequence[Any]:
    """Parameters of a proof's tests: all, or those of the sample. They are asked for before there is a ledger."""
    return full if WHERE in os.environ else sample


@dataclass(frozen=True)
class Part:
    """What a part of a proof has found; `Ledger.record` says what each is."""

    name: str
    tried: int
    broken: Sequence[str]
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Ledger:
    """Where the proofs write what they found.

    Attributes:
        out: folder of the figures; none: samples are run, and nothing is kept.
    """

    out: Path | None

    def count(self, full: int, sample: int) -> int:
        """How many are tried: all, or those of the sample."""
        return sample if self.out is None else full

    def record(self, proof: str, part: str, tried: int, broken: Sequence[str], **figures: float) -> None:
        """Keep what a part of a proof has found, and fail where a promise was broken.

        Args:
            proof: one of `PROOFS`.
            part: of it, in words that stand in the table; the figures of equal parts are added up.
            tried: how many were tried.
            broken: a line about each that went against the promise.
            figures: other numbers of interest; a name that ends in `_most` is the largest of all, others are added up.
        """
        self.record_all(proof, [Part(part, tried, broken, figures)])

    def record_all(self, proof: str, parts: Sequence[Part]) -> None:
        """The same of several parts: all are kept before one of them fails.

        Args:
            proof: one of `PROOFS`.
            parts: of it, in any number.
        """
        assert proof in PROOFS
        if self.out is not None:
            rows = [
                {
                    "proof": proof,
                    "part": part.name,
                    "tried": part.tried,
                    "broken": [*part.broken],
                    "figures": {**part.figures},
                }
                for part in parts
            ]
            with (self.out / FOUND).open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
        tried = [part.tried for part in parts]
        assert parts, "a proof that tried nothing proves nothing"
        assert all(tried), f"a proof that tried nothing proves nothing: {parts[tried.index(0)].name}"
        broken = [f"{part.name}: {line}" for part in parts for line in part.broken]
        assert not broken, f"{len(broken)} of {sum(tried)}: " + "\n".join(broken[:20])
