"""Networks in integers with random numbers, and programs that gcc makes of their C."""

import shutil
import subprocess

import numpy as np
import pytest

from flyweight import schema
from flyweight.export.c.integers import Addition, Average, Convolution, Integers, Map, fixed_point
from flyweight.export.c.plan import Plan, planned
from flyweight.export.c.source import pair
from flyweight.networks.builtin import NETWORKS
from flyweight.recipes.network import Network
from flyweight.runs.card import Card

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
WATCHED = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
"""Ends the program at a read or write beyond an array, and at a sum that does not fit."""

MAIN = """\
#include <stdio.h>
#include "{prefix}.{suffix}"

int main(void)
{{
    static uint8_t image[{capitals}_HEIGHT * {capitals}_WIDTH * {capitals}_CHANNELS];
    int16_t logits[{capitals}_CLASSES];
    while (fread(image, 1, sizeof image, stdin) == sizeof image) {{
        int32_t found = {prefix}_classify(image, logits);
        fwrite(&found, sizeof found, 1, stdout);
        fwrite(logits, sizeof logits, 1, stdout);
{more}    }}
    return 0;
}}
"""

needs_gcc = pytest.mark.skipif(
    shutil.which("gcc") is None, reason="NO COMPILER, so no C is run: `make programs` as root installs gcc"
)


def compiled(folder, prefix, *options, arena=0):
    """Compile `prefix`.c in a folder.

    Gives what says (N,) classes and (N, classes) logits of (N, H, W, C) images; of an arena of so many bytes also what
    each image leaves in it, (N, bytes).
    """
    program, main = folder / "program", folder / "main.c"
    suffix, more = ("c", "        fwrite(arena, sizeof arena, 1, stdout);\n") if arena else ("h", "")
    main.write_text(MAIN.format(prefix=prefix, capitals=prefix.upper(), suffix=suffix, more=more))
    sources = [main] if arena else [main, folder / f"{prefix}.c"]
    call = ["gcc", *STRICT, *(options or ("-O2",)), *sources, "-o", program]
    made = subprocess.run(call, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[:3000]

    def asked(images, classes):
        ran = subprocess.run([program], input=np.ascontiguousarray(images).tobytes(), capture_output=True, check=False)
        assert ran.returncode == 0, ran.stderr[:3000]
        fields = [("class", "<i4"), ("logits", "<i2", classes), *([("arena", "i1", arena)] if arena else [])]
        found = np.frombuffer(ran.stdout, np.dtype(fields))
        return tuple(found[name] for name in found.dtype.names)

    return asked


def card_of(shape, classes):
    """Of a network of such images and classes, as far as an export asks for it."""
    grey = (0.5,) * shape[0]
    return Card("tiny", None, classes, shape, grey, grey, data="none", fingerprint="0" * 64, epochs=1)


def apart(network):
    """An arena where no map lies on another."""
    maps = [network.entry, *(step.target for step in network.steps[:-1])]
    ends = np.cumsum([one.bytes for one in maps]).tolist()
    return Plan(dict(zip(maps, [0, *ends[:-1]], strict=True)), ends[-1])


def program(network, folder, *options, classes=None, name="tiny", plan=None, arena=False):
    """The same of a network in integers."""
    names = classes or tuple(f"class {number}" for number in range(network.logits.channels))
    shape = (network.entry.channels, network.entry.height, network.entry.width)
    files = pair(network, plan or planned(network), card_of(shape, names), name)
    (folder / f"{files.prefix}.h").write_text(files.header)
    (folder / f"{files.prefix}.c").write_text(files.source)
    return compiled(folder, files.prefix, *options, arena=files.arena_bytes if arena else 0)


class Random:
    """Networks in integers with the geometry of rows and random numbers in place of weights."""

    def __init__(self, seed=0):
        self._draw = np.random.default_rng(seed)
        self._steps = []

    def network(self, rows, shape=(3, 32, 32), classes=10):
        """Of the rows of a table: a :class:`Network`, or what a recipe says of one."""
        table = rows if isinstance(rows, Network) else schema.parse(Network, rows, "the tests")
        entry = here = self._map(*shape)
        for _, block in table.named():
            for row in block:
                before, geometry = here, (row.kernel, row.stride, row.dilation, row.zeros)
                norm_last = table.order == "relu-norm"
                if row.kind == "separable":
                    here = self._convolution(here, here.channels, geometry, depthwise=True)
                    here = self._convolution(here, row.width, (1, 1, 1, 0), norm_last=norm_last)
                else:
                    here = self._convolution(here, row.width, geometry, norm_last=norm_last)
                if row.residual:
                    here = self._sum(before, here)
        here = self._average(here, table.pool or here.height)
        self._convolution(here, classes, (1, 1, 1, 0), wide=True)
        table_of_pixels = self._draw.integers(-128, 128, (shape[0], 256)).astype(np.int8)
        return Integers(entry, table_of_pixels, tuple(self._steps))

    def _map(self, channels, height, width, wide=False):
        zero = 0 if wide else int(self._draw.integers(-128, 33))
        return Map(f"map {len(self._steps)}", channels, height, width, 1.0, zero, wide)

    def _convolution(self, source, outputs, geometry, *, depthwise=False, norm_last=False, wide=False):
        kernel, stride, dilation, padding = geometry
        size = [
            (side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for side in (source.height, source.width)
        ]
        target = self._map(outputs, *size, wide)
        shape = (kernel, kernel, outputs) if depthwise else (outputs, kernel, kernel, source.channels)
        weight = self._draw.integers(-127, 128, shape)
        taps = weight.size // outputs
        # sums are about so wide, and shall reach both ends of the target
        factor = self._draw.uniform(0.5, 2, outputs) * target.highest / (127 * 147 * taps**0.5)
        if norm_last:
            factor *= self._draw.choice((-1, 1), outputs)
        multiplier, shift = fixed_point(factor)
        after = self._draw.integers(-50, 51, outputs) << shift.astype(np.int64) if norm_last else None
        self._steps.append(
            Convolution(
                f"layer {len(self._steps)}", source, target, weight.astype(np.int8),
                self._draw.integers(-9999, 10000, outputs).astype(np.int32), multiplier, shift, after,
                stride, dilation, padding, depthwise, target.lowest if norm_last or wide else target.zero,
            )
        )  # fmt: skip
        return target

    def _sum(self, first, second):
        target = self._map(first.channels, first.height, first.width)
        (one, other), shifts = fixed_point(self._draw.uniform(0.3, 0.6, 2))
        self._steps.append(Addition("sum", first, second, target, (int(one), int(other)), int(min(shifts)), -128))
        return target

    def _average(self, source, side):
        target = self._map(source.channels, source.height // side, source.width // side)
        multiplier, shift = fixed_point(1.3 / side**2)
        self._steps.append(Average("mean", source, target, side, side, side, int(multiplier), int(shift)))
        return target


def shipped(name):
    """A built-in network's geometry."""
    return Random().network(NETWORKS[name])
