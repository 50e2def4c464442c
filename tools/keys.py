"""Print docs/keys.md: every key that a recipe and a space of a search may have.

python tools/keys.py > docs/keys.md
"""

from __future__ import annotations

import json
import sys
from typing import Any

from flyweight.recipes.network import Network, Row
from flyweight.recipes.sections import AugmentConfig, DataConfig, ModelConfig, Recipe, TrainConfig
from flyweight.schema import Section
from flyweight.search.space import Space

INTRODUCTION = """# Keys of the YAML files

Made by `python tools/keys.py > docs/keys.md`; a test keeps it fresh. After "none:" stands what `null` means. What a set
of rules may say is told by `flyweight rules`.
"""
TABLES: tuple[tuple[str, str, type[Section]], ...] = (
    ("A recipe", "For `flyweight train my_recipe.yaml`; `--set train.epochs=3` changes a key for one run.", Recipe),
    ("data", "", DataConfig),
    ("augment", "", AugmentConfig),
    ("model", "", ModelConfig),
    ("model.table", "", Network),
    ("A row of model.table.blocks", "", Row),
    ("train", "", TrainConfig),
    ("A space", "For `flyweight search brief --space my_space.yaml`.", Space),
)
KINDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`true` or `false`"}
BOUNDS = (
    ("minimum", "at least"),
    ("exclusiveMinimum", "more than"),
    ("maximum", "at most"),
    ("exclusiveMaximum", "less than"),
)


def main() -> None:
    """Print a table for each section."""
    sys.stdout.write(INTRODUCTION)
    for title, call, section in TABLES:
        about = "\n\n".join(part for part in (call, _paragraph(section.__doc__ or "")) if part)
        sys.stdout.write(
            f"\n## {title}\n\n{about}\n\n| key | value | default | what it is |\n| --- | --- | --- | --- |\n"
        )
        schema = section.model_json_schema()
        for key, told in schema["properties"].items():
            what = "below" if told.get("$ref") else told["description"]
            default = "must be there" if key in schema.get("required", ()) else _default(told)
            sys.stdout.write(f"| `{key}` | {_values(told)} | {default} | {what} |\n")


def _paragraph(text: str) -> str:
    """The first paragraph in one line, as the pages have it."""
    return " ".join(text.split("\n\n")[0].split())


def _default(told: dict[str, Any]) -> str:
    """As YAML has it; nothing for no text and for a section, whose keys have defaults of their own."""
    value = told.get("default")
    return "" if value == "" or isinstance(value, dict) else f"`{json.dumps(value)}`".replace('"', "")


def _values(told: dict[str, Any]) -> str:
    """What may stand there, by a part of a JSON schema."""
    if "anyOf" in told:
        return "; or ".join(_values(one) for one in told["anyOf"])
    if "enum" in told:
        return ", ".join(f"`{one}`" for one in told["enum"])
    if "$ref" in told:
        return "keys"
    if told["type"] == "array":
        return f"list: {_values(told['items'])}"
    if told["type"] == "null":
        return "`null`"
    bounds = (f"{words} {told[bound]:,}" for bound, words in BOUNDS if bound in told)
    return ", ".join((KINDS[told["type"]], *bounds))


if __name__ == "__main__":
    main()
