"""Facts and verdicts as a plain text table or as one JSON object. Nothing here prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flyweight.analysis import Facts, Layer
from flyweight.rules.rule import Judgement, Verdict

_HEADINGS = ("layer", "kind", "details", "output", "parameters", "MACs", "field")


def render(facts: Facts, judgement: Judgement) -> str:
    """The summary for people: layers, totals, findings, verdicts; no line ends in a blank."""
    parts = [render_layers(facts), render_totals(facts), render_verdicts(judgement)]
    return "\n\n".join(part for part in parts if part)


def render_layers(facts: Facts) -> str:
    """A row for each layer in the order of execution. Sizes are (C, H, W); MACs are for one image."""
    rows = [_HEADINGS, *(_row(layer) for layer in facts.layers)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in (4, 5) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    rule = "-" * max(len(line) for line in lines)
    return "\n".join([lines[0], rule, *lines[1:], rule])


def _row(layer: Layer) -> tuple[str, ...]:
    return (
        layer.name,
        layer.kind,
        layer.details,
        _by(layer.output_shape),
        f"{layer.parameters:,}" if layer.parameters else "",
        "unknown" if layer.macs is None else f"{layer.macs:,}" if layer.macs else "",
        _field(layer),
    )


def _field(layer: Layer) -> str:
    if layer.receptive_field is None:
        return layer.field_note
    height, width = layer.receptive_field
    size = str(height) if height == width else f"{height}x{width}"
    return f"{size} {layer.field_note}".rstrip()


def _by(sizes: Sequence[int]) -> str:
    return "x".join(str(size) for size in sizes)


def render_totals(facts: Facts) -> str:
    """Totals, the receptive field with its proof, and what is dead or not understood."""
    frozen = facts.parameters - facts.trainable_parameters
    macs = "unknown" if facts.macs is None else f"{facts.macs:,}"
    lines = [
        f"{facts.network} on {_by(facts.input_shape)}",
        f"parameters       {facts.parameters:,}" + (f" ({frozen:,} of them frozen)" if frozen else ""),
        f"MACs             {macs} (multiply-accumulates of convolutions and matrix products, one image)",
        f"memory           {_memory(facts)}",
        f"receptive field  {_headline(facts)}",
    ]
    if facts.receptive_field.gathered:
        layers = ", ".join(facts.receptive_field.gathered)
        lines.append(f"                 not counted: every position also sees the whole map through {layers}")
    lines += [
        f"dead weight      {dead.layer}: {dead.taps} of {dead.of} taps see only padding, {dead.parameters:,} weights"
        for dead in facts.dead_taps
    ]
    lines += [
        f"unreached        {unreached.layer}: {unreached.reason}, {unreached.parameters:,} parameters"
        for unreached in facts.unreached
    ]
    lines += [
        f"unregistered     {stranger.layer}: {stranger.parameters:,} weights that nobody counts, trains or saves"
        for stranger in facts.unregistered
    ]
    lines += [f"random           {facts.random}"] * bool(facts.random)
    lines += [f"not understood   {unknown.told} in {unknown.layer}" for unknown in facts.unknown]
    return "\n".join(lines)


def _memory(facts: Facts) -> str:
    if facts.peak is None:
        return "unknown"
    kib = facts.peak.numbers / 1024
    return f"{kib:,.1f} KiB in 8 bits, {4 * kib:,.1f} in float32 (maps held at once, one image), at {facts.peak.layer}"


def _headline(facts: Facts) -> str:
    field = facts.receptive_field
    if field.height is None or field.width is None:
        return f"unknown: {field.detail}"
    size = str(field.width) if len(facts.input_shape) == 2 else f"{field.height}x{field.width}"
    if field.live:
        seen = field.live[1:] if len(facts.input_shape) == 2 else field.live
        size = f"{_by(seen)} ({size} with taps that see only padding)"
    return f"{size} before {field.before or 'the output'}, {field.status}: {field.detail}"


def render_verdicts(judgement: Judgement) -> str:
    """A line for each rule, under a failed one the layer and the cure, and the outcome."""
    width = max((len(verdict.name) for verdict in (*judgement.verdicts, *judgement.bonuses)), default=0)
    lines = [line for verdict in judgement.verdicts for line in _verdict(verdict, width, "FAIL")]
    lines += [line for verdict in judgement.bonuses for line in _verdict(verdict, width, "no")]
    pending = [f"judged after a training: {'; '.join(judgement.pending)}"] if judgement.pending else []
    return "\n".join([*lines, "", *pending, _outcome(judgement)])


def _outcome(judgement: Judgement) -> str:
    failed = [verdict.name for verdict in judgement.verdicts if verdict.passed is False]
    if failed:
        return f"FAIL: breaks {judgement.title}: {', '.join(failed)}"
    if not any(verdict.passed for verdict in judgement.verdicts):
        return f"no rule of {judgement.title} is judged yet"
    uncounted = [verdict.name for verdict in judgement.verdicts if verdict.passed is None]
    rest = f", of which this does not count: {'; '.join(uncounted)}" if uncounted else ""
    return f"PASS: obeys {judgement.title}{rest}"


def _verdict(verdict: Verdict, width: int, failure: str) -> list[str]:
    word = "-" if verdict.passed is None else "PASS" if verdict.passed else failure
    lines = [f"{word:4}  {verdict.name:{width}}  {verdict.detail}".rstrip()]
    if verdict.layer:
        lines.append(f"      {'':{width}}  layer: {verdict.layer}")
    if verdict.cure:
        lines.append(f"      {'':{width}}  cure: {verdict.cure}")
    return lines


def as_json(facts: Facts, judgement: Judgement) -> dict[str, Any]:
    """One object for programs. Unknown numbers are null; `receptive_field` is a number, or [height, width].

    It is what the rules judge: kernels of which one tap alone sees more than padding count as 1.
    """
    field = facts.receptive_field
    sees = field.live or (field.height, field.width)
    value = None if field.value is None else sees[0] if sees[0] == sees[1] else sees
    return {
        "network": facts.network,
        "ruleset": judgement.title,
        "input": list(facts.input_shape),
        "parameters": facts.parameters,
        "trainable_parameters": facts.trainable_parameters,
        "macs": facts.macs,
        "peak_activations": None if facts.peak is None else {"numbers": facts.peak.numbers, "layer": facts.peak.layer},
        "receptive_field": list(value) if isinstance(value, tuple) else value,
        "receptive_field_with_dead_taps": [field.height, field.width] if field.live else None,
        "receptive_field_status": field.status,
        "receptive_field_detail": field.detail,
        "sees_whole_map": list(field.gathered),
        "rules": [_verdict_json(verdict) for verdict in judgement.verdicts],
        "bonuses": [_verdict_json(verdict) for verdict in judgement.bonuses],
        "pending": list(judgement.pending),
        "passed": judgement.passed,
        "layers": [_layer_json(layer) for layer in facts.layers],
        "dead_taps": [vars(dead) for dead in facts.dead_taps],
        "unreached": [vars(unreached) for unreached in facts.unreached],
        "unregistered": [vars(stranger) for stranger in facts.unregistered],
        "unknown": [
            {"layer": unknown.layer, "operator": unknown.told, "opaque": unknown.opaque} for unknown in facts.unknown
        ],
    }


def _verdict_json(verdict: Verdict) -> dict[str, Any]:
    return {name: content for name, content in vars(verdict).items() if name != "short"}


def _layer_json(layer: Layer) -> dict[str, Any]:
    content = dict(vars(layer))
    content["output_shape"] = list(layer.output_shape)
    content["receptive_field"] = list(layer.receptive_field) if layer.receptive_field else None
    return content
