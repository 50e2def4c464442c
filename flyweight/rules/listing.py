"""What kinds of rules and which rule sets there are, one line each. Nothing here prints."""

from __future__ import annotations

import inspect

from flyweight.rules.ruleset import KINDS, known_rulesets, load_ruleset
from flyweight.text import aligned


def render_listing() -> str:
    """Kinds with their settings, and the built-in sets with their rules."""
    kinds = [[kind, _settings(kind), _first_line(kind)] for kind in KINDS]
    sets = [[name, load_ruleset(name).title] for name in known_rulesets()]
    lines = ["Kinds of rules:", *aligned(["kind", "settings", "what it asks"], kinds, left=3), ""]
    lines += ["Built-in rule sets:", *aligned(["name", "of"], sets, left=2), ""]
    lines += ["A rule set of yours is a YAML file; its JSON Schema: flyweight rules --schema"]
    return "\n".join(lines)


def as_json() -> dict[str, dict[str, str]]:
    """The same for programs."""
    return {
        "kinds": {kind: _first_line(kind) for kind in KINDS},
        "rulesets": {name: load_ruleset(name).title for name in known_rulesets()},
    }


def _first_line(kind: str) -> str:
    return (inspect.getdoc(KINDS[kind]) or "").splitlines()[0]


def _settings(kind: str) -> str:
    """Settings of a kind; those in brackets may be left out."""
    fields = KINDS[kind].model_fields
    own = [name for name in fields if name not in ("name", "kind")]
    return " ".join(name if fields[name].is_required() else f"[{name}]" for name in own)
