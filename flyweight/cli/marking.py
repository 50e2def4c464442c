"""What `flyweight check` does with several networks, or with one in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from flyweight.cli.console import MarkingBar, answer, answer_json, err, say
from flyweight.cli.options import Marking
from flyweight.errors import FlyweightError
from flyweight.files import write_text
from flyweight.machine import signals
from flyweight.marking import isolated, marks, page
from flyweight.marking.marks import Claim, Mark
from flyweight.marking.task import Task, answered
from flyweight.rules import RuleSet, load_ruleset, reports
from flyweight.text import one_line, printable

MARK = b"flyweight check</title>"
"""In the head of each page that `--html` writes."""


@dataclass(frozen=True)
class Where:
    """Where marks go besides the terminal, and how they are made.

    Attributes:
        csv: a table for spreadsheets; none: there is none.
        html: a page; none: there is none.
        junit: verdicts as XML for continuous integration; none: there are none.
        markdown: Markdown instead of text.
        as_json: one JSON object instead of text, or a list of them.
        apart: each network in a process of its own.
        seconds: that each may take there.
        memory: that each may take there, in GiB.
    """

    csv: Path | None
    html: Path | None
    junit: Path | None
    markdown: bool
    as_json: bool
    apart: bool
    seconds: int
    memory: float

    @property
    def files(self) -> bool:
        """Whether any are written."""
        return any(path is not None for path in (self.csv, self.html, self.junit))

    def check(self) -> None:
        """Refuse, before anything is judged, what could not be written or would replace a user's file.

        Raises:
            FlyweightError: that is so.
        """
        if self.seconds < 1 or self.memory <= 0:
            raise FlyweightError("--seconds must be at least 1, and --memory more than 0")
        if self.csv is not None:
            _writable(self.csv, "--csv", (".csv",), ",".join(marks.HEAD).encode())
        if self.html is not None:
            _writable(self.html, "--html", (".html", ".htm"), MARK)
        if self.junit is not None:
            _writable(self.junit, "--junit", (".xml",), reports.JUNIT.encode())
        if self.markdown and self.as_json:
            raise FlyweightError("--markdown and --json are two forms of one answer: leave one out")


def where(options: Marking, networks: int, as_json: bool) -> Where:
    """From what was asked for, for so many networks.

    Raises:
        FlyweightError: it cannot be.
    """
    apart = (os.name == "posix" and networks > 1) if options.isolated is None else options.isolated
    if apart and os.name != "posix":
        raise FlyweightError("--isolated needs Linux or macOS: leave it out, or check there")
    found = Where(
        options.csv, options.html, options.junit, options.markdown, as_json, apart, options.seconds, options.memory
    )
    found.check()
    return found


def _writable(path: Path, option: str, suffixes: tuple[str, ...], mark: bytes) -> None:
    if path.suffix.lower() not in suffixes:
        raise FlyweightError(f"{option} {path}: its name must end in {suffixes[0]}")
    if path.exists() and not (path.is_file() and mark in path.read_bytes()[:1000]):
        raise FlyweightError(
            f"{option} {path}: there is such a file already, and it is none of flyweight's: name another place"
        )
    if not path.resolve().parent.is_dir():
        raise FlyweightError(f"{option} {path}: there is no folder {path.parent}: make it, or name another place")


def run(tasks: Sequence[Task], broken: dict[str, str], claims: Sequence[Claim], to: Where) -> int:
    """Judge networks and tell what came out; Ctrl-C tells what there is so far.

    Args:
        tasks: one a network.
        broken: names of those for which there is no task, and why.
        claims: told beside what was found.
        to: and how.

    Returns:
        the exit code: 129, 130 or 143 interrupted, 70 a bug of ours, 2 some could not be judged, 1 some fail a rule, 0
        all pass.
    """
    found = {name: Mark(name, error=error) for name, error in broken.items()}
    interrupt: KeyboardInterrupt | None = None
    with MarkingBar(err, len(tasks)) as bar:
        try:
            with closing(_marks(tasks, to, bar)) as judged:
                for mark in judged:
                    found[mark.name] = mark
                    bar.done(mark.name, mark.outcome)
        except KeyboardInterrupt as asked:
            interrupt = asked
    for task in tasks:
        found.setdefault(task.name, Mark(task.name, error="not checked: it was interrupted"))
    rows = sorted(found.values(), key=lambda mark: mark.name)
    _tell(rows, tasks, claims, to)
    if interrupt is not None:
        say(f"interrupted: {sum(mark.outcome != 'not checked' for mark in rows)} of {len(rows)} were judged")
        return signals.code(interrupt)
    return _code(rows)


def _code(rows: Sequence[Mark]) -> int:
    if any(mark.bug for mark in rows):
        return 70
    outcomes = {mark.outcome for mark in rows}
    return 2 if "not checked" in outcomes else 1 if "fail" in outcomes else 0


def _marks(tasks: Sequence[Task], to: Where, bar: MarkingBar) -> Generator[Mark]:
    """A mark a task, in the order in which they end."""
    if to.apart:
        yield from isolated.mark(tasks, to.seconds, int(to.memory * 2**30), bar.start)
        return
    for task in tasks:
        bar.start(task.name)
        notes: list[str] = []
        try:
            yield Mark.of(task, {**answered(task, notes.append), "notes": notes}, 0.0)
        except FlyweightError as error:
            yield Mark.of(task, {"error": str(error), "notes": notes}, 0.0)
        except Exception as error:
            yield Mark.of(task, {"bug": f"{type(error).__name__}: {one_line(error)}", "notes": notes}, 0.0)


def _tell(rows: Sequence[Mark], tasks: Sequence[Task], claims: Sequence[Claim], to: Where) -> None:
    rules: list[str] = []
    titles: list[str] = []
    for source in dict.fromkeys(task.rules for task in tasks):
        ruleset = load_ruleset(source)
        titles.append(ruleset.title)
        rules += [name for name in _judged(ruleset, rows) if name not in rules]
    if to.csv is not None:
        write_text(to.csv, marks.as_csv(rows, rules, claims))
        say(f"table {to.csv}")
    if to.html is not None:
        page.write(rows, " and ".join(titles) or "no rules", rules, claims, to.html, _about(tasks, to))
        say(f"page {to.html}")
    if to.junit is not None:
        write_text(to.junit, reports.as_junit([(mark.name, mark.facts, mark.error) for mark in rows]))
        say(f"verdicts {to.junit}")
    if to.markdown:
        answer(as_markdown(rows))
    elif to.as_json:
        told = [as_json(mark, claims) for mark in rows]
        answer_json(told[0] if len(told) == 1 else told)
    elif len(rows) == 1 and rows[0].facts is not None:
        answer("\n".join([rows[0].text, *(marks.claim_line(rows[0], claim) for claim in claims)]))
        for note in rows[0].notes:
            say(note)
    elif len(rows) == 1:
        say(f"flyweight: {rows[0].error}")
    else:
        answer(f"{marks.table(rows, claims)}\n\n{marks.counts(rows)}")


def _judged(ruleset: RuleSet, rows: Sequence[Mark]) -> list[str]:
    """The rules that were judged, in the order of the rule set; those about a training were not."""
    pending = {name for mark in rows if mark.facts is not None for name in mark.facts["pending"]}
    return [rule.name for rule in ruleset.rules if rule.name not in pending]


def as_markdown(rows: Sequence[Mark]) -> str:
    """Networks for a page beside a change."""
    return "\n\n".join(reports.as_markdown(mark.name, mark.facts, mark.error) for mark in rows)


def as_json(mark: Mark, claims: Sequence[Claim]) -> dict[str, object]:
    """One network for a program."""
    facts = mark.facts or {"error": mark.error}
    told = {"claims": [marks.claim_json(mark, claim) for claim in claims]} if claims else {}
    return {"name": printable(mark.name), **facts, "notes": list(mark.notes), **told}


def _about(tasks: Sequence[Task], to: Where) -> str:
    sizes = list(dict.fromkeys(f"{t.channels}x{t.height}x{t.width}, {t.classes} classes" for t in tasks))
    apart = f"each in a process of its own with at most {to.seconds} s and {to.memory:g} GiB" if to.apart else ""
    return "; ".join(part for part in (f"On {' and '.join(sizes)}" if sizes else "", apart) if part) + "."
