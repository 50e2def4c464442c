"""The C of a network in integers: one header, one source, C99, nothing but <stdint.h> and <string.h>."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flyweight import __version__
from flyweight.export.c import kernels
from flyweight.export.c.integers import Addition, Average, Convolution, Integers, Map, Step
from flyweight.export.c.plan import Plan
from flyweight.runs.card import Card

_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int32": "int32_t", "int64": "int64_t"}
WIDTH = 116


@dataclass(frozen=True)
class Pair:
    """A header and a source.

    Attributes:
        prefix: of both files and of all names in them.
        header: the text of ``PREFIX.h``.
        source: the text of ``PREFIX.c``.
        arena_bytes: that the source keeps between calls: the maps, and one position of a pointwise layer's source.
    """

    prefix: str
    header: str
    source: str
    arena_bytes: int


def pair(network: Integers, plan: Plan, card: Card, name: str) -> Pair:
    """Write a network as C.

    Args:
        network: in integers.
        plan: of its arena.
        card: with the classes.
        name: of the network.
    """
    prefix = identifier(name)
    steps = [step for step in network.steps if isinstance(step, Convolution)]
    aside = max((step.source.channels for step in steps if step.pointwise and not step.target.wide), default=0)
    header = _header(network, card, prefix, plan.bytes + aside)
    return Pair(prefix, header, _source(network, plan, card, prefix, aside), plan.bytes + aside)


def identifier(name: str) -> str:
    """A name that C takes and that names a file anywhere."""
    found = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:40]
    return found if found[:1].isalpha() else f"network_{found}".rstrip("_")


def _header(network: Integers, card: Card, prefix: str, arena: int) -> str:
    entry, capitals = network.entry, prefix.upper()
    return f"""\
/* {prefix}: a network in 8 bits. Written by flyweight {__version__}; {_comment(card)}. */
#ifndef {capitals}_H
#define {capitals}_H

#include <stdint.h>

#define {capitals}_HEIGHT {entry.height}
#define {capitals}_WIDTH {entry.width}
#define {capitals}_CHANNELS {entry.channels}
#define {capitals}_CLASSES {len(card.classes)}
#define {capitals}_ARENA_BYTES {arena}
/* What 1 in a logit stands for. */
#define {capitals}_LOGIT_SCALE {network.logits.scale:.9e}f

#ifdef __cplusplus
extern "C" {{
#endif

/* UTF-8. */
extern const char *const {prefix}_class_names[{capitals}_CLASSES];

/* The class of an image, 0 to {capitals}_CLASSES - 1; of two that are equally likely the first.
   image: {capitals}_HEIGHT rows of {capitals}_WIDTH pixels of {capitals}_CHANNELS bytes, as a file decodes them.
   logits: {capitals}_CLASSES numbers are written there.
   Its memory is static: one call at a time. */
int {prefix}_classify(const uint8_t *image, int16_t *logits);

#ifdef __cplusplus
}}
#endif

#endif
"""


def _comment(card: Card) -> str:
    """The weights' hash, which is hexadecimal; what people name could end a comment."""
    digest = re.sub(r"[^0-9a-f]", "", card.sha256)
    return f"weights {digest}"


def _source(network: Integers, plan: Plan, card: Card, prefix: str, aside: int) -> str:
    capitals, entry = prefix.upper(), network.entry
    names = ",\n    ".join(_text(name) for name in card.classes)
    position = f"static int8_t *const position = arena + {plan.bytes};" if aside else ""
    parts = [
        f'#include "{prefix}.h"\n' + ("\n#include <string.h>\n" if aside else ""),
        f"const char *const {prefix}_class_names[{capitals}_CLASSES] = {{\n    {names}\n}};\n",
        f"static int8_t arena[{capitals}_ARENA_BYTES];\n{position}\n",
        _kernels(network),
        _array("pixels", network.table.reshape(-1)),
        *(_constants(number, step) for number, step in enumerate(network.steps) if isinstance(step, Convolution)),
        f"""\
int {prefix}_classify(const uint8_t *image, int16_t *logits)
{{
    int i, best = 0;
    for (i = 0; i < {entry.bytes}; i++) {{
        arena[{plan.places[entry]} + i] = pixels[i % {entry.channels} * 256 + image[i]];
    }}
"""
        + "".join(f"    {_call(number, step, plan)}\n" for number, step in enumerate(network.steps))
        + f"""\
    for (i = 1; i < {capitals}_CLASSES; i++) {{
        if (logits[i] > logits[best]) {{
            best = i;
        }}
    }}
    return best;
}}
""",
    ]
    return "\n".join(parts)


def _kernels(network: Integers) -> str:
    """What the network's steps call, and nothing else: compilers tell of functions that nobody calls."""
    steps = network.steps
    layers = [step for step in steps if isinstance(step, Convolution) and not step.target.wide]
    needed = [
        (kernels.DENSE, any(not step.depthwise and not step.pointwise for step in layers)),
        (kernels.POINTWISE, any(step.pointwise for step in layers)),
        (kernels.DEPTHWISE, any(step.depthwise for step in layers)),
        (kernels.ADDED, any(isinstance(step, Addition) for step in steps)),
        (kernels.AVERAGED, any(isinstance(step, Average) for step in steps)),
    ]
    always = [kernels.STRUCT, kernels.SETTLED, kernels.OUTPUT, kernels.PRODUCTS]
    return "\n".join([*always, *(text for text, wanted in needed if wanted), kernels.CLASSIFIED])


def _constants(number: int, step: Convolution) -> str:
    arrays = {"weight": step.weight, "bias": step.bias, "multiplier": step.multiplier, "shift": step.shift}
    arrays |= {} if step.after is None else {"after": step.after}
    source, target = step.source, step.target
    after = "0" if step.after is None else f"after_{number}"
    numbers = ", ".join(map(str, (
        source.height, source.width, source.channels, target.height, target.width, target.channels,
        step.kernel, step.stride, step.dilation, step.padding, source.zero, target.zero, step.low, target.highest,
    )))  # fmt: skip
    return (
        "\n".join(_array(f"{what}_{number}", array.reshape(-1)) for what, array in arrays.items())
        + f"static const struct layer layer_{number} = {{\n    weight_{number}, bias_{number}, multiplier_{number},"
        + f" shift_{number}, {after},\n    {numbers}\n}};\n"
    )


def _call(number: int, step: Step, plan: Plan) -> str:
    """The line of a step."""

    def at(one: Map) -> str:
        return f"arena + {plan.places[one]}"

    target = step.target
    if isinstance(step, Convolution):
        if target.wide:
            return f"classified(&layer_{number}, {at(step.source)}, logits);"
        kind = "depthwise" if step.depthwise else "pointwise" if step.pointwise else "dense"
        return f"{kind}(&layer_{number}, {at(step.source)}, {at(target)});"
    if isinstance(step, Addition):
        first, second = step.multipliers
        return (
            f"added({at(step.first)}, {at(step.second)}, {at(target)}, {target.bytes}, {step.first.zero},"
            f" {step.second.zero}, {first}, {second}, {step.shift}, {target.zero}, {step.low});"
        )
    source = step.source
    return (
        f"averaged({at(source)}, {at(target)}, {source.width}, {source.channels}, {target.height}, {target.width},"
        f" {step.rows}, {step.columns}, {step.stride}, {source.zero}, {step.multiplier}, {step.shift}, {target.zero});"
    )


def _array(name: str, values: np.ndarray) -> str:
    kind = _TYPES[str(values.dtype)]
    suffix = "LL" if kind == "int64_t" else ""
    lines, line = [], ""
    for value in values.tolist():
        word = f"{value}{suffix},"
        if len(line) + len(word) > WIDTH:
            lines.append(line)
            line = ""
        line += word
    return f"static const {kind} {name}[{len(values)}] = {{\n" + "\n".join([*lines, line]) + "\n};\n"


def _text(words: str) -> str:
    """A C string of any text: what is not plainly a letter or a digit is written as a number."""
    plain: Sequence[str] = [
        chr(byte) if chr(byte).isascii() and (chr(byte).isalnum() or byte in b" -_") else f"\\{byte:03o}"
        for byte in words.encode("utf-8", "backslashreplace")
    ]
    return f'"{"".join(plain)}"'
