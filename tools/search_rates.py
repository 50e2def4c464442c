"""How fast a search says no: tables judged by arithmetic, networks proved, and tables drawn for a legal one.

python tools/search_rates.py --rules brief --networks 20
"""

from __future__ import annotations

import argparse
import random
import sys
import time

from flyweight import rules
from flyweight.cli.options import image_shape
from flyweight.images.spec import Spec
from flyweight.search.legal import Judge
from flyweight.search.propose import Proposer
from flyweight.search.space import Space, known


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", default="brief")
    parser.add_argument("--networks", type=int, default=20, help="legal ones, drawn and bred")
    options = parser.parse_args()
    ruleset = rules.load_ruleset(options.rules)
    shape = image_shape(ruleset.input or "3,32,32", "input")
    judge = Judge(ruleset, Space().narrowed(ruleset), Spec.unnamed(ruleset.classes or 10, shape))
    proposer, parents = Proposer(judge, 0), [one for _, one in known(judge.space)]

    def measured(what: str, best: list) -> list:
        before, began = judge.drawn, time.process_time()
        found = [proposer._legal(proposer._draft(best), ()) for _ in range(options.networks)]
        took, drawn, legal = time.process_time() - began, judge.drawn - before, [one for one in found if one]
        sys.stdout.write(
            f"{what}: {len(legal)} of {options.networks} legal, {drawn / max(1, len(legal)):.0f} tables judged for each"
            f" legal one, {drawn / took:,.0f} tables a second changed and judged\n"
        )
        return legal

    legal = measured("drawn at random", []) + measured("bred from the built-in networks", parents)
    tables = [proposer._fresh() for _ in range(2000)]
    random.Random(0).shuffle(tables)
    began = time.process_time()
    for table in tables:
        judge.excess(table)
    arithmetic = len(tables) / (time.process_time() - began)
    began = time.process_time()
    passed = sum(judge.prove(one).passed for one in legal)
    proofs = len(legal) / (time.process_time() - began)
    sys.stdout.write(
        f"arithmetic: {arithmetic:,.0f} tables a second; proof: {proofs:.1f} networks a second, {passed} of"
        f" {len(legal)} obey the rules as the arithmetic said\n"
    )


if __name__ == "__main__":
    main()
