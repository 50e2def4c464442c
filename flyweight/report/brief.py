"""What the brief asks of a report (R9): five answers by their numbers, with the code of the network and of R6.

Its rules R6 and R7 are entries of its rule set like any others. A run by other rules, or by none, gets no word of this.
"""

from __future__ import annotations

import inspect

from flyweight.images import augment
from flyweight.networks import build, builtin, layers, phases
from flyweight.recipes import network
from flyweight.recipes.sections import Recipe
from flyweight.report.sources import Source, source

RULES = "brief"
"""Name of its rule set."""

HEADINGS = {
    "network": "1. The network's code",
    "summary": "2. The model summary",
    "augmentation": "3. The augmentation code",
    "log": "4. The training log",
    "figures": "5. What the README shows",
}


def asks(recipe: Recipe) -> bool:
    """Whether a run is one of the brief's."""
    return recipe.rules == RULES


def builder_sources() -> list[Source]:
    """The code that turns rows of a table into a network, for the first answer."""
    return [source(module) for module in (network, builtin, build, phases, layers)]


def augmentation_source() -> str:
    """The code of R6's transforms, for the third answer."""
    return inspect.getsource(augment.transforms)
