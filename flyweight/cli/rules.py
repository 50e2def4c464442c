"""`flyweight rules`: the kinds of rules and the built-in rule sets."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flyweight.cli.console import answer, answer_json
from flyweight.cli.options import JsonOption, command

app = command("rules", "rules", "rules --schema > rules.schema.json")


@app.default
def rules(
    *,
    schema: Annotated[bool, Parameter(negative="", help="Print the JSON Schema of a rule set's file.")] = False,
    as_json: JsonOption = False,
) -> int:
    """List the kinds of rules that a rule set may hold, and the rule sets that are built in, one line each."""
    from flyweight.rules import listing
    from flyweight.rules.ruleset import json_schema

    if schema:
        answer_json(json_schema())
    elif as_json:
        answer_json(listing.as_json())
    else:
        answer(listing.render_listing())
    return 0
