"""What is drawn for fuzzed calls: command lines out of the commands' own signatures, files out of their schemas."""

from __future__ import annotations

import copy
import types
import typing
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from hypothesis import strategies as st
from pydantic import BaseModel

from flyweight.cli.app import COMMANDS, app
from flyweight.recipes.sections import Recipe
from flyweight.rules.ruleset import KINDS

LAUGHS = "[&a [" + "x, " * 8 + "x]"
MERGES = "[&a {x: 1}"
for _old, _new in zip("abcdefgh", "bcdefghi", strict=True):
    LAUGHS += f", &{_new} [{', '.join([f'*{_old}'] * 8)}]"
    MERGES += f", &{_new} {{<<: [{', '.join([f'*{_old}'] * 8)}]}}"
LAUGHS, MERGES = LAUGHS + "]", MERGES + "]"
"""A line each: a list of a hundred million letters, and a mapping that takes as many keys from others."""

ODD = (
    "", " ", "-", "--", "---", "-h", "=", "\0", "a\0b", "\x1b[31mred", "\x1b]0;title\a", "\n", "a\nb", "\r", "\t",
    "\x7f", "\x9b31m", "\u202egnp", "\u200b", "\ud800", "\udcff", "é", "\U0001f408", "a" * 300, "a" * 5000, "é" * 300,
    "\x1b" * 900, "a/" * 3000, "nan", "NaN", "inf", "-inf", "1e999", "1e-999", "-1", "0", "00", "1.5", "0x10", "1_000",
    "\u0661\u0662", "9" * 400, "-" + "9" * 400, "1" * 5000, "true", "True", "yes", "null", "None", "~", "~nobody/x",
    "$HOME", "$(id)", "`id`", "%s%n", "{0}", "{}", "[]", "()", "*", "?", "[", "]", "'", '"', "\\", "a=b", "--x=y", "-x",
    "..", ".", "/dev/null", "/dev/zero", "/proc/self/mem", "/nonexistent/x", "hub:a/b", "hub:", "hub:../..",
    "http://127.0.0.1:9/x", "file:///etc/passwd", "postgresql://me:secret@127.0.0.1:9/x", "sqlite:///x.db",
    "[red]x[/red]", "[/]", "<b>", "=cmd()", "a,b", ",", "1,2", "1,2,3", "3,8,8", "1,8,8", "0,0,0", "9999999999,1,1",
)  # fmt: skip
NETWORKS = (
    "nano", "sprint", "nan", "Nano", "net.py", "net.py:Net", "net.py:Net(width=2)", "net.py:Net(width=)",
    "net.py:make()", "net.py:nothing", "net.py:", ":Net", "broken.py", "broken.py:Net", "a.b:Net", "notes.ipynb:Net",
    "copy", "run", "recipe.yaml", "text.txt", "empty", "net.py:Net(width=__import__('os'))", "net.py:Net(width=10**9)",
)  # fmt: skip
FILES = (
    "cat.png", "broken.png", "text.txt", "photos", "empty", "nowhere", "nowhere.png", "./cat.png", "net.py",
    "recipe.yaml", "-",
)  # fmt: skip
TRAINED = ("nano", "nano", "copy", "copy", "run", "empty", "nan", "net.py", "photos")
RUNS = ("run", "copy", "empty", "nowhere")
RULESETS = ("brief", "brie", "rules.yaml", "recipe.yaml", "text.txt", "empty")
DATA = (
    "nowhere", "photos", "empty", "cat.png", "text.txt", "cifar10", "cifar", "digit", "hub:a/b", "copy",
)  # fmt: skip
MADE = (
    "made", "made/deep", "x.csv", "x.html", "x.xml", "x.png", "cat.png", "text.txt", "empty", "photos", "copy",
    "nowhere/x.csv",
)  # fmt: skip
OUTPUTS = ("--out", "--to", "--csv", "--html", "--junit", "--page", "--figure", "--explain", "--exports")
"""Options that name what is written: what is drawn for them lies in the working folder."""

odd = st.sampled_from(ODD)
# all but surrogates, as of a text of its own accord, which it would first encode one by one to find out
plain = st.characters(codec=None, exclude_categories=("Cs",))
letters = st.text(plain, max_size=20) | st.text(
    st.characters(codec=None, categories=("Cc", "Cs", "Lu", "Zs")), max_size=8
)
# whoever names the root wants all of the machine's files, and waits
words = odd | letters.filter(lambda word: word == "" or Path(word.replace("\0", "")) != Path("/"))


# files


class Raw(str):
    """A piece of YAML that stands in a file as it is."""


SNIPPETS = [
    Raw(text)
    for text in (
        "1:1", "1:30:59.9", "1" + ":59" * 300, "017", "0o17", "0b101", "0x1F", ".inf", "-.INF", ".NaN", "1e400",
        "9" * 90, "9" * 400, "1_000", "+.5", "~", "yes", "off", "''", '"\\0"', '"\\x1b[31m"', '"\\ud800"',
        '"\\U0001F408"', "2001-01-01", "2001-13-45", "2001-12-14t21:59:43.10-05:00", "!!binary aGVsbG8=", "!!binary x",
        "!!set {a, b}", "!!omap [a: 1]", "!!pairs [a: 1]", "!!python/object/apply:os.system ['id']",
        "!!python/name:os.system", "!!python/tuple [1]", "!!str 3", "!!int x", "!!float 3", "!!bool 3", "!!null x",
        "!mine 3", "!<tag:yaml.org,2002:int> 3", "&a [*a]", "&a {a: *a}", "*nothing", "<<", "{<<: {a: 1}}", "{<<: 3}",
        "{<<: [{a: 1}, {a: 2}]}", "{a: 1, a: 2}", "{1: 2}", "{[1]: 2}", "{{a: 1}: 2}", "? a", "[[[]]]", "{", "]",
        "@x", "`x`", "%x", "|\n  x", "[" * 60, "[" * 3000, "x: y: z", "- a", LAUGHS, f"{{a: {LAUGHS}}}", MERGES,
    )
]  # fmt: skip
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-3, 20)
    | st.floats()
    | st.floats(0, 1)
    | words.filter(lambda word: len(word) < 400)
)
pieces = scalars | scalars | st.sampled_from(SNIPPETS)
parts = (
    pieces
    | st.lists(pieces, max_size=3)
    | st.dictionaries(st.text(plain, max_size=5) | st.integers(), pieces, max_size=2)
)
values = parts | st.lists(parts, max_size=2) | st.dictionaries(st.sampled_from("ab"), parts, max_size=2)


HUGE = (2**16, 2**20, 10**9, 2**31, 2**63, 10**30)


def of_kind(kind: Any, limits: Sequence[Any] = ()) -> st.SearchStrategy[Any]:
    """Values of a field's kind and within its limits; what they mean together is another thing."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return sections(kind)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return st.sampled_from(inner)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(of_kind(part, limits) for part in inner))
    if origin is typing.Annotated:
        return of_kind(inner[0], [part for one in inner[1:] for part in getattr(one, "metadata", [one])])
    if origin is tuple:
        return st.lists(of_kind(inner[0]), min_size=1, max_size=3)
    if origin is dict:
        return st.dictionaries(st.sampled_from(("c1", "c2")), of_kind(inner[1]), min_size=1, max_size=2)
    if kind in (int, float):
        return _number(kind, limits)
    simple = {Path: st.sampled_from(DATA), str: st.sampled_from(NAMES), bool: st.booleans(), type(None): st.none()}
    return simple.get(kind, values)


NAMES = ("drawn", "c1", "c2", "conv", "linear", "relu", "1,8,8", "dense", "separable", "flip", "cifar10", "a name")


def _number(kind: type, limits: Sequence[Any]) -> st.SearchStrategy[Any]:
    least = next((getattr(one, name) for one in limits for name in ("ge", "gt") if hasattr(one, name)), 0)
    most = next((getattr(one, name) for one in limits for name in ("le", "lt") if hasattr(one, name)), None)
    if kind is int:
        small = st.integers(least, least + 9 if most is None else min(most, least + 9))
        return st.one_of(small, small, small, st.sampled_from(HUGE))
    upper = 2.0 if most is None else most
    numbers = st.floats(least, upper, exclude_min=True, exclude_max=True)
    return numbers | st.sampled_from((1e-300, 1e300)) if most is None else numbers


@cache
def sections(model: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    """A section of a file: the keys that it needs and some of the others, with values of their kinds."""
    fields = model.model_fields
    strategies = {name: of_kind(field.annotation, field.metadata) for name, field in fields.items()}
    if "kind" in fields and "width" in fields:  # a row
        strategies["kind"] = st.sampled_from(("dense", "separable", "dens"))
    needed = {name: strategies[name] for name, field in fields.items() if field.is_required()}
    others = {name: strategies[name] for name in fields if name not in needed}
    few = st.lists(st.sampled_from(sorted(others)), max_size=3, unique=True) if others else st.just([])
    return few.flatmap(lambda names: st.fixed_dictionaries(needed | {name: others[name] for name in names}))


ROW = {"width": 4, "stride": 2}
TABLE = {"blocks": [[ROW], [ROW]]}
RECIPE = {
    "name": "drawn",
    "data": {"path": "nowhere"},
    "model": {"network": "drawn", "table": TABLE},
    "rules": None,
}
# how much of a file or a call is wrong: where everything is, only the first thing is looked at
FAULTS = st.sampled_from((0, 0, 0, 0, 1, 1, 2, 5))


@st.composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    """A recipe: a small network and no data, and some of what it may say besides; or something that it may not."""
    content: dict[str, Any] = dict(RECIPE)
    for name in ("augment", "train", "data", "model"):
        if draw(st.booleans()):
            field = Recipe.model_fields[name]
            content[name] = content.get(name, {}) | draw(sections(typing.cast(Any, field.annotation)))
    if draw(st.integers(0, 2)) == 0:
        content["rules"] = draw(st.sampled_from(RULESETS))
    # what trains, were it there
    content["data"] = content["data"] | {"path": "nowhere"}
    if content["model"].get("network") not in NETWORKS and content["model"].get("table") is None:
        content["model"] = content["model"] | {"table": TABLE}
    content = copy.deepcopy(content)
    for _ in range(draw(FAULTS)):
        _spoil(draw, content)
    return content


@st.composite
def rule_sets(draw: st.DrawFn) -> dict[str, Any]:
    """A rule set of any kinds of rules; or nearly one."""
    content: dict[str, Any] = {
        "title": "drawn",
        "blocks": draw(st.sampled_from((["c1", "c2"], ["c1"], "auto", ["c3"]))),
    }
    for key, most in (("rules", 4), ("bonuses", 1)):
        content[key] = []
        for _ in range(draw(st.integers(1 if key == "rules" else 0, most))):
            kind = draw(st.sampled_from([*KINDS]))
            name = f"{key} {len(content[key])}"
            content[key].append(draw(sections(KINDS[kind])) | {"name": name, "kind": kind})
    if draw(st.booleans()):
        content |= {"input": draw(st.sampled_from(("1,8,8", "3,8,8", "1,64"))), "classes": draw(st.integers(1, 4))}
    content = copy.deepcopy(content)
    for _ in range(draw(FAULTS)):
        _spoil(draw, content)
    return content


def _spoil(draw: st.DrawFn, content: Any) -> None:
    """Make something wrong somewhere in a mapping: a key is missing, nearly right or new, a value is anything."""
    here = content
    while True:
        inner = [
            part
            for part in (here.values() if isinstance(here, dict) else here)
            if isinstance(part, dict | list) and part
        ]
        if not inner or draw(st.integers(0, 2)) == 0:
            break
        here = inner[draw(st.integers(0, len(inner) - 1))]
    if isinstance(here, list):
        here[draw(st.integers(0, len(here) - 1))] = draw(values)
        return
    key = draw(st.sampled_from(sorted(here, key=str))) if here else "x"
    luck = draw(st.integers(0, 9))
    if luck == 0:
        here.pop(key, None)
    elif luck == 1:
        here[f"{key}s"] = here.pop(key, None)
    elif luck == 2:
        here[draw(words | st.integers())] = draw(values)
    else:
        here[key] = draw(values | odd)


@st.composite
def files(draw: st.DrawFn, contents: st.SearchStrategy[dict[str, Any]]) -> bytes:
    """The bytes of a YAML file."""
    content, pieces = draw(contents), []

    def kept(value: Any) -> Any:
        if isinstance(value, Raw):
            pieces.append(value)
            return f"RAW{len(pieces) - 1}RAW"
        if isinstance(value, dict):
            return {key: kept(inner) for key, inner in value.items()}
        return [kept(inner) for inner in value] if isinstance(value, list) else value

    text = yaml.safe_dump(kept(content), sort_keys=False, allow_unicode=True, default_flow_style=draw(st.booleans()))
    for number, piece in enumerate(pieces):
        text = text.replace(f"RAW{number}RAW", piece)
    raw = text.encode("utf-8", "surrogatepass")
    luck = draw(st.integers(0, 120))
    ends = {
        0: b"\xef\xbb\xbf" + raw, 1: text.encode("utf-16", "surrogatepass"), 2: raw.replace(b"\n", b"\r\n"),
        3: b"%YAML 9.9\n---\n" + raw, 4: raw + b"---\n" + raw, 5: raw + b"\0", 6: raw + b"\xff\xfe", 7: b"", 8: b"[]",
        9: b"3", 10: b"\t" + raw, 11: raw + raw, 12: raw[: draw(st.integers(0, len(raw)))], 13: b"{" * 2000,
        14: b"- " * 3000, 15: b"a: " * 2000, 16: raw.replace(b" ", b"\t"), 17: b"<<: *x\n" + raw,
        18: b"\n".join([b"&x"] * 50) + raw, 19: draw(st.binary(max_size=60)), 20: b"!!python/object:os.x\n" + raw,
    }  # fmt: skip
    return ends.get(luck, raw)


# command lines


def keys(model: type[BaseModel] = Recipe, before: str = "") -> list[str]:
    """What --set may name."""
    found = []
    for name, field in model.model_fields.items():
        inner = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        found += keys(typing.cast(Any, field.annotation), f"{before}{name}.") if inner else [f"{before}{name}"]
    return found


changes = st.builds(
    "{}={}".format,
    st.sampled_from([*keys(), "train.epoch", "train", "data.path.x", "model.table.blocks", "", "."]),
    words
    | st.sampled_from(SNIPPETS)
    | st.integers().map(str)
    | st.floats().map(str)
    | st.sampled_from(["3", "0.5", "null", "true"]),
)


@cache
def value_of(name: str, hint: Any, wrong: bool) -> st.SearchStrategy[str]:
    """What somebody may type for an argument: something of its kind, or anything else."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType, tuple):
        return st.one_of(*(value_of(name, part, wrong) for part in inner if part not in (type(None), ...)))
    if wrong and name in OUTPUTS:
        return words.filter(lambda word: not word.startswith(("/", "~")) and ".." not in word)
    if wrong:
        return st.sampled_from([f"{inner[0]}s"]) | odd if origin is Literal else words
    if origin is Literal:
        return st.sampled_from([str(part) for part in inner])
    pools = {
        **dict.fromkeys(OUTPUTS, MADE), **dict.fromkeys(("--data", "--against", "PATH"), DATA), "FILES": FILES,
        **dict.fromkeys(("--rules", "RULES"), RULESETS), **dict.fromkeys(("--resume", "RUN"), RUNS),
        "--recipe": ("recipe.yaml", "sprint", "rules.yaml"), "RECIPE": ("recipe.yaml", "recipe.yaml", "rules.yaml",
        "spring"),
        "--claim": ("receptive_field=9", "parameters=1", "x=1", "="), "--input": ("1,8,8", "3,64", "1,1,1", "3,8,8,8"),
        "--blocks": ("auto", "c1,c2", "c1,c1", ","), "NETWORKS": NETWORKS, "NETWORK": TRAINED, "--licence": ("mit",
        "MIT"),
        "--format": ("onnx", "c", "huggingface", "onyx"), "--push": ("me/mine", "me"),
        "--storage": ("postgresql://me:secret@127.0.0.1:9/x", "postgres"),
    }  # fmt: skip
    if name == "--set":
        return changes
    if name in pools:
        return st.sampled_from(pools[name])
    if hint is int:
        return st.integers(-2, 9).map(str) | st.integers().map(str)
    if hint is float:
        return st.floats().map(str) | st.integers(0, 9).map(str)
    return st.sampled_from(NAMES)


@cache
def arguments(command: str) -> tuple[tuple[tuple[str, ...], Any, bool], ...]:
    """Names, kind, and whether it stands without its name, of each argument of a command."""
    found = app[command].assemble_argument_collection()
    return tuple((one.names, one.hint, not one.names[0].startswith("-")) for one in found if one.names != ("*",))


@st.composite
def calls(draw: st.DrawFn) -> list[str]:
    """A command line, without the program's name: as it should be, or with some things wrong."""
    luck = draw(st.integers(0, 29))
    if luck == 0:
        first = draw(words | st.sampled_from([f"{name}s" for name in COMMANDS]))
        return [first, *draw(st.lists(words, max_size=3))]
    if luck == 1:
        return [*draw(st.lists(st.sampled_from([*COMMANDS, "--help", "--version", "-h"]), max_size=3)), "--help"]
    command = draw(st.sampled_from(COMMANDS))
    known, faults = arguments(command), draw(FAULTS)
    options = [one for one in known if not one[2]]
    many = draw(st.lists(st.integers(0, len(options) - 1), max_size=4, unique=faults < 2))
    call = []
    for names, hint, bare in [*(one for one in known if one[2]), *(options[place] for place in many)]:
        wrong = faults > 0 and draw(st.booleans())
        faults -= wrong
        if not bare:
            call += _option(draw, draw(st.sampled_from(names)), hint, wrong)
            continue
        most = 2 if get_origin(hint) is tuple else 1
        call += draw(st.lists(value_of(names[0], hint, wrong), min_size=0 if wrong else 1, max_size=most))
    if faults > 0:
        call.insert(draw(st.integers(0, len(call))), draw(words))
    needed = {"export": ("--to", "made"), "search": ("--trials", "1")}.get(command, ())
    return [command, *call, *(needed if not set(needed) & set(call) else ())]


def _option(draw: st.DrawFn, name: str, hint: Any, wrong: bool) -> Sequence[str]:
    """An option with its value; where it is wrong, its name may be."""
    luck = draw(st.integers(0, 9)) if wrong else 9
    said = {0: name[:-1], 1: name[1:], 2: name.upper(), 3: f"{name}x", 4: f"--no-{name[2:]}"}.get(luck, name)
    if hint is bool or hint == bool | None:
        return [f"{said}={draw(odd)}"] if luck == 5 else [said]
    if luck == 5:
        return [said]
    value = draw(value_of(name, hint, wrong))
    return [f"{said}={value}"] if draw(st.booleans()) else [said, value]


def ends_soon(call: Sequence[str]) -> bool:
    """Whether a call cannot train, serve or measure, which takes long; all that it says is looked at before."""
    # the one data set that every machine has
    if any("digits" in word for word in call):
        return False
    if call[:1] == ["bench"]:
        return any(word in ("--rounds=0", "--seeds=0") for word in call)
    # a network beside others is judged in a process of its own
    if call[:1] == ["check"] and not any(word.startswith("-") for word in call[1:2]):
        return "--isolated" not in call
    return "--debug" not in call


def brought_to_an_end(call: list[str]) -> list[str]:
    """A call with what makes it end soon, where it might not."""
    if call[:1] == ["bench"]:
        return [*call, "--rounds=0"]
    return [*call, "--no-isolated"] if call[:1] == ["check"] and len(call) > 2 else call
