"""How many cures hold: faults planted in networks of many shapes, each cure carried out anew and judged.

``PYTHONPATH=.:tests python tools/cures.py`` tries our own networks and those of ``tests/published_shapes.py``, with
``--some N`` every N-th fault. A fault is a rule that a network breaks, beside rules that it obeys and is to go on
obeying.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import faulty_networks
import published_shapes
import torch
from torch import nn

from flyweight import analysis
from flyweight.analysis import activation_peak
from flyweight.data.cifar10 import SPEC
from flyweight.networks import builtin
from flyweight.networks.build import build
from flyweight.recipes.sections import ModelConfig
from flyweight.rules import RuleSet
from flyweight.rules.rule import Evidence, Rule
from flyweight.rules.ruleset import KINDS, check, cure_of, load_ruleset

FAULTY = ("BlockEndsPlain", "SmallField", "CroppedHead", "SwallowedMap", "MaximumHead", "ShiftedMaximum", "NoDilation")


@dataclass(frozen=True)
class Fault:
    """A network, the rule that it breaks, and a rule set of that and rules that it obeys."""

    network: str
    facts: analysis.Facts
    ruleset: RuleSet
    number: int


@dataclass(frozen=True)
class Outcome:
    """What became of a fault: whether a cure was found, whether it held when it was carried out anew, and its words."""

    fault: Fault
    holds: bool
    text: str
    seconds: float


def networks() -> Iterator[tuple[str, nn.Module]]:
    """Our own and public shapes."""
    for name in builtin.NETWORKS:
        yield name, build(ModelConfig(network=name), SPEC)
    for name in FAULTY:
        yield name, getattr(faulty_networks, name)()
    for name, made in published_shapes.NETWORKS.items():
        yield name, made()


def faults(name: str, model: nn.Module) -> Iterator[Fault]:
    """Rules that a network breaks, each set so that a person might ask for it."""
    facts = analysis.analyze(model, SPEC.shape)
    brief = load_ruleset("brief")
    if all(block in facts.submodules for block in brief.blocks):
        judged = check(facts, brief, cures=False)
        for number, verdict in enumerate((*judged.verdicts, *judged.bonuses)):
            if verdict.passed is False:
                entries = [rule for rule in (*brief.rules, *brief.bonuses) if rule.name not in judged.pending]
                place = (*brief.rules, *brief.bonuses).index(entries[number])
                yield Fault(name, facts, brief, place)
    guards = [rule for rule in _guards(facts) if rule.judge(Evidence(facts), "auto").passed]  # type: ignore[union-attr]
    for entry in _broken(facts):
        if entry.judge(Evidence(facts), "auto").passed is False:  # type: ignore[union-attr]
            yield Fault(name, facts, RuleSet("planted", "auto", (entry, *guards), ()), 0)


def _rule(kind: str, **settings: object) -> Rule:
    return KINDS[kind].model_validate({"name": kind, "kind": kind, **settings})


def _guards(facts: analysis.Facts) -> Iterator[Rule]:
    """What a change is not to break."""
    yield _rule("parameters_below", limit=2 * facts.parameters)
    yield _rule("global_average_pooling")
    yield _rule("no_max_pooling")
    field = facts.receptive_field.height or 8
    yield _rule("receptive_field_above", minimum=field // 2)


def _broken(facts: analysis.Facts) -> Iterator[Rule]:
    """Rules just out of a network's reach."""
    layers = [layer for layer in facts.convolution_layers if not layer.connected]
    field = facts.receptive_field
    for share in (0.9, 0.6):
        yield _rule("parameters_below", limit=int(facts.parameters * share))
        yield _rule("macs_below", limit=int((facts.macs or 1) * share))
    peak = activation_peak(facts.graph).numbers
    yield _rule("peak_activation_bytes", limit=int(peak * 0.75))
    flash = KINDS["flash_bytes"].model_validate({"name": "f", "kind": "flash_bytes", "limit": 1})
    yield _rule("flash_bytes", limit=int((1 + flash.check(facts, "auto").short) * 0.8))
    yield _rule("file_size_below", limit=int(facts.parameters * 4 * 0.8))
    if field.height and field.width:
        yield _rule("receptive_field_above", minimum=max(field.live or (field.height, field.width)) + 6)
        yield _rule("receptive_field_at_most", maximum=max(5, min(field.height, field.width) - 4))
        yield _rule("receptive_field_within", minimum=min(field.height, field.width) + 2, maximum=field.height + 40)
    yield _rule("dilated", at_least=sum(layer.dilated for layer in layers) + 2)
    yield _rule("depthwise_separable", at_least=sum(layer.separable for layer in layers) + 1)
    yield _rule("no_max_pooling")
    yield _rule("no_down_sampling")
    yield _rule("global_average_pooling")
    yield _rule("layer_count", of="convolution", at_least=len(layers) + 1)
    yield _rule("layer_count", of="convolution", at_most=len(layers) - 1)
    yield _rule("layer_count", of="strided", exactly=0)
    yield _rule("operators_among", operators="tflite-micro-int8")
    yield _rule("depth", at_least=len(layers) + 3)


def tried(fault: Fault) -> Outcome:
    """Look for a cure, carry its edits out on a copy of the network as it was, and judge all rules, proofs included."""
    started = time.process_time()
    cure = cure_of(fault.ruleset, Evidence(fault.facts), fault.number)
    seconds = time.process_time() - started
    if cure is None:
        return Outcome(fault, False, "", seconds)
    model = copy.deepcopy(fault.facts.graph.trace.model)
    entries = (*fault.ruleset.rules, *fault.ruleset.bonuses)
    before = [rule.judge(Evidence(fault.facts), fault.ruleset.blocks) for rule in entries]
    for edit in cure.edits:
        edit.apply(model)
        analysis.analyze(model, SPEC.shape, prove_field=False)  # what an edit of an operator counts by
    facts = analysis.analyze(model, SPEC.shape)
    after = [rule.judge(Evidence(facts), fault.ruleset.blocks) for rule in entries]
    broken = [1 for old, new in zip(before, after, strict=True) if old and old.passed and new and new.passed is False]
    own = after[fault.number]
    return Outcome(fault, bool(own and own.passed) and not broken, cure.text, seconds)


def main() -> None:
    """Print each fault without a cure that holds, and the count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--some", type=int, default=1, help="try every N-th fault")
    parser.add_argument("--show", action="store_true", help="print the cures as well")
    given = parser.parse_args()
    torch.manual_seed(0)
    found = [fault for name, model in networks() for fault in faults(name, model)][:: given.some]
    done, slowest = [], 0.0
    for fault in found:
        outcome = tried(fault)
        done.append(outcome)
        slowest = max(slowest, outcome.seconds)
        rule = (*fault.ruleset.rules, *fault.ruleset.bonuses)[fault.number]
        if given.show or not outcome.holds:
            words = {k: v for k, v in rule.model_dump(exclude_none=True).items() if k not in ("name", "projections")}
            sys.stdout.write(f"{'holds' if outcome.holds else 'FAILS'}  {fault.network}  {words}  {outcome.text}\n")
            sys.stdout.flush()
    held = sum(outcome.holds for outcome in done)
    mean = sum(outcome.seconds for outcome in done) / len(done)
    sys.stdout.write(
        f"{held} of {len(done)} failing verdicts have a cure that holds ({100 * held / len(done):.1f} %), in"
        f" {len({outcome.fault.network for outcome in done})} networks; {mean:.2f} s of processor time each,"
        f" {slowest:.2f} at most\n"
    )


if __name__ == "__main__":
    main()
