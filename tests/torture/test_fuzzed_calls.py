"""Fuzzed command lines, recipes and rule sets: each call ends soon in a documented exit code, and in few plain words.

What is drawn comes from the commands' own signatures and the files' own schemas: `fuzzing`. The calls run in this
process; no code of flyweight's is replaced. They end soon because the data that they name is not there: what a call
says is read and looked at before that, the network of a recipe built and judged.
"""

import contextlib
import ctypes
import io
import os
import resource
import shutil
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fuzzing
import hypothesis
import hypothesis.configuration
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from ledger import WHERE, Ledger
from nasty import put, raw

from flyweight import recipes
from flyweight.cli import app
from flyweight.cli.console import MOST
from flyweight.errors import EXIT_CODES
from flyweight.marking.fence import address_space
from flyweight.runs.card import ZOO
from flyweight.runs.folder import Run
from flyweight.text import lines

pytestmark = [
    pytest.mark.usefixtures("own_places"),
    pytest.mark.timeout(3600 if WHERE in os.environ else 900),  # a busy machine takes its time
]

SEED = 16
CHUNKS = 20 if WHERE in os.environ else 1
MEMORY = 8 * 2**30
"""Bytes of addresses beyond those that the process has: what a recipe asks for beyond is told as too little memory, on
any machine. Where not one is left Python 3.11 itself crashes, and commands keep the memory that they free."""
MAY_END = set(EXIT_CODES) - {70, 129, 130, 141, 143}
"""Of the documented codes those that nobody's signal is needed for, and no fault of ours."""
SOON = 60.0
"""Seconds of a processor that a call may take."""
DRAWN = "drawn.yaml"
"""The file that is drawn anew for each call."""
NETWORK = """
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4, classes=3):
        super().__init__()
        self.c1 = nn.Sequential(nn.Conv2d(1, width, 3, 2, 1), nn.ReLU())
        self.c2 = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.out = nn.Linear(width, classes)

    def forward(self, x):
        return self.out(self.c2(self.c1(x)))

def make():
    return Net()
"""


class Place:
    """A working folder with things to name, and an eye on what is written anywhere.

    Args:
        outside: a folder of our own that it lies in.

    Attributes:
        elsewhere: what a call has written outside of that.
        codes: how many calls ended how.
        slowest: seconds that a call took at most.
    """

    def __init__(self, outside: Path) -> None:
        self.outside, self.inside = outside, outside / "place"
        self.elsewhere: list[str] = []
        self.codes, self.slowest = Counter[str](), 0.0
        self.fill()

    def fill(self) -> None:
        """Make it anew."""
        shutil.rmtree(self.inside, ignore_errors=True)
        inside = self.inside
        put(inside / "cat.png", raw(1))
        put(inside / "broken.png", raw(2)[:100])
        put(inside / "text.txt", b"some text\n")
        put(inside / "net.py", NETWORK.encode())
        put(inside / "broken.py", b"class Net(:\n")
        for name in ("cow", "hen"):  # which no network here knows: one that fits would be served, until Ctrl-C
            put(inside / "photos" / name / "0.png", raw(ord(name[0])))
        (inside / "empty").mkdir()
        put(inside / "recipe.yaml", yaml.safe_dump(fuzzing.RECIPE).encode())
        put(inside / "rules.yaml", b"title: ours\nrules: [{name: small, kind: parameters_below, limit: 9}]\n")
        shutil.copytree(ZOO / "nano", inside / "copy")
        Run.create(inside / "run", recipes.load(inside / "recipe.yaml"))
        shutil.rmtree(self.outside / "kept", ignore_errors=True)
        shutil.copytree(inside, self.outside / "kept")
        self.before = self._state()

    def clean(self) -> str | None:
        """Take away what a call has made; what it has changed that was not its own, or none."""
        after = self._state()
        changed = [name for name, state in self.before.items() if after.get(name) != state and not _ours(name)]
        if after != self.before:
            self._restore(after)
        return f"changed {', '.join(map(repr, changed))}" if changed else None

    def _restore(self, after: dict[str, tuple[int, ...]]) -> None:
        """Make it as it was: what is new goes, what is missing or another one comes back, and the rest stays."""
        for name in sorted(name for name in self.before.keys() | after if after.get(name) != self.before.get(name)):
            path, kept = self.inside / name, self.outside / "kept" / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)  # what it held is on the list as well, or comes back with it
            else:
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    path.unlink()
            if name in self.before:
                (shutil.copytree if kept.is_dir() else shutil.copy2)(kept, path)
        self.before = self._state()

    def _state(self) -> dict[str, tuple[int, ...]]:
        found = {}
        for where, folders, names in os.walk(self.inside):
            for name in {*folders, *names} - {DRAWN}:
                path = f"{where}/{name}"  # Path would take most of the time
                status = os.lstat(path)
                whole = () if name in folders else (status.st_size, status.st_mtime_ns)
                found[os.path.relpath(path, self.inside)] = (status.st_mode, status.st_ino, *whole)
        return found

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Inside it, what is written outside of our folder is kept in `elsewhere`."""
        self.elsewhere = []
        _watching.append(self)
        if len(_hooks) == 0:  # none can be taken away again
            _hooks.append(_heard)
            sys.addaudithook(_heard)
        try:
            yield
        finally:
            _watching.clear()


_watching: list[Place] = []
_hooks: list[Callable[[str, tuple[Any, ...]], None]] = []


def _heard(event: str, details: tuple[Any, ...]) -> None:
    if not _watching or event not in WRITING:
        return
    if event == "open" and not (isinstance(details[2], int) and details[2] & WRITES):
        return
    for path in details[: WRITING[event]]:
        if isinstance(path, str | bytes | os.PathLike):
            whole = os.path.realpath(os.fsdecode(path))
            if whole != os.devnull and not whole.startswith(f"{_watching[0].outside}{os.sep}"):
                _watching[0].elsewhere.append(f"{event} {whole!r}")


WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# what Python tells of before it is done, and how many paths come first
WRITING = {"open": 1, "os.mkdir": 1, "os.rename": 2, "os.remove": 1, "os.rmdir": 1, "os.link": 2, "os.symlink": 2,
           "os.truncate": 1, "os.chmod": 1, "os.chown": 1, "os.utime": 1, "shutil.rmtree": 1}  # fmt: skip


def _ours(name: str) -> bool:
    """Whether the program may change it: a run folder's own files."""
    return name.partition(os.sep)[0] in ("run", "copy")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    outside = Path(os.path.realpath(tmp_path))
    (outside / "home").mkdir()
    (outside / "temporary").mkdir()
    for name, where in {
        "HOME": "home",
        "TMPDIR": "temporary",
        "XDG_CACHE_HOME": "home",
        "XDG_CONFIG_HOME": "home",
    }.items():
        monkeypatch.setenv(name, str(outside / where))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    hypothesis.configuration.set_hypothesis_home_dir(outside / "home")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    made = Place(outside)
    monkeypatch.chdir(made.inside)
    getattr(ctypes.CDLL(None), "malloc_trim", int)(0)  # what the calls of other tests took and freed
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + MEMORY, hard))
    yield made
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def ended(place: Place, call: list[str]) -> Iterator[str]:
    """Run a call and count how it ended; what went against the promise, a sentence each."""
    begun = time.monotonic()
    out, err, before = io.StringIO(), io.StringIO(), sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(raw(5)))
    os.chdir(place.inside)
    try:
        with (
            place.watched(),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            warnings.catch_warnings(record=True) as told,
            _soon(),
        ):
            _as_python_warns()
            code = app.run_command(call)
    except BaseException as error:
        yield f"{type(error).__name__}: {error}"
        return
    finally:
        sys.stdin = before
    place.codes[f"exit_{code}"] += 1
    place.slowest = max(place.slowest, time.monotonic() - begun)
    if code not in MAY_END:
        yield f"exit code {code}: {err.getvalue()[-300:]}"
    for text in (out.getvalue(), err.getvalue()):
        if "Traceback" in text:
            yield f"a traceback: {text[-300:]}"
        if text != lines(text):
            yield f"what a terminal obeys: {text[:300]!r}"
    longest = max(map(len, err.getvalue().split("\n")))
    if longest > MOST:
        yield f"a message of {longest} characters"
    if code and not err.getvalue().strip() and not out.getvalue().strip():
        yield f"exit code {code} without a word"
    yield from (f"a warning: {warning.message}" for warning in told)
    yield from (f"written elsewhere: {what}" for what in place.elsewhere)
    changed = place.clean()
    if changed is not None:
        yield changed


class EndlessError(BaseException):
    """A call that has taken too long; nothing that catches errors catches it."""


@contextlib.contextmanager
def _soon() -> Iterator[None]:
    """End what takes too long, by the processor's time: a busy machine is no fault."""

    def end(*_: object) -> None:
        raise EndlessError(f"not over after {SOON:g} s of processor time")

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, SOON)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _as_python_warns() -> None:
    """Show the warnings that a person would see: Python's own choice, not that of the tests."""
    warnings.resetwarnings()
    for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", kind)


def tried(
    ledger: Ledger,
    place: Place,
    part: str,
    count: int,
    chunk: int,
    drawn: st.SearchStrategy[Any],
    run: Callable[[Any], Iterator[str]],
) -> None:
    """Draw so many, run each, and write down what broke the promise."""
    broken: list[str] = []
    seen: set[str] = set()
    done = 0

    @hypothesis.seed(SEED * 1000 + chunk)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(drawn)
    def each(one: Any) -> None:
        nonlocal done
        hypothesis.assume(repr(one) not in seen)  # it likes to draw the same again
        seen.add(repr(one))
        done += 1
        broken.extend(f"{what} <- {one!r:.1500}" for what in run(one))

    with contextlib.suppress(hypothesis.errors.Unsatisfiable):  # the count tells it
        each()
    if done < count:
        broken.append(f"{done:,} were tried, and {count:,} were to be: what is drawn is filtered away")
    ledger.record("fuzzed-calls", part, done, broken, seconds_most=place.slowest, **dict(sorted(place.codes.items())))


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_fuzzed_command_lines(ledger: Ledger, place: Place, chunk: int) -> None:
    drawn = fuzzing.calls().map(fuzzing.brought_to_an_end).filter(fuzzing.ends_soon)
    tried(
        ledger,
        place,
        "command lines",
        ledger.count(10_000 // CHUNKS, 60),
        chunk,
        drawn,
        lambda call: ended(place, call),
    )


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_fuzzed_recipes(ledger: Ledger, place: Place, chunk: int) -> None:
    named = [
        ["check", DRAWN],
        ["check", DRAWN, "--input", "3,8,8", "--classes", "3", "--rules", "rules.yaml"],
        ["train", DRAWN, "--out", "made"],
        ["search", "brief", "--recipe", DRAWN, "--hours", "1"],
    ]
    drawn = st.tuples(fuzzing.files(fuzzing.recipes()), st.sampled_from(named))

    def run(one: tuple[bytes, list[str]]) -> Iterator[str]:
        put(place.inside / DRAWN, one[0])
        yield from ended(place, one[1])

    tried(ledger, place, "recipes", ledger.count(5_000 // CHUNKS, 60), chunk, drawn, run)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_fuzzed_rule_sets(ledger: Ledger, place: Place, chunk: int) -> None:
    small = ["check", "net.py:Net", "--rules", DRAWN, "--input", "1,8,8", "--classes", "3"]
    named = [["check", "nowhere.py:Net", "--rules", DRAWN], ["search", DRAWN, "--hours", "1"], small]
    drawn = st.tuples(fuzzing.files(fuzzing.rule_sets()), st.sampled_from(named))

    def run(one: tuple[bytes, list[str]]) -> Iterator[str]:
        put(place.inside / DRAWN, one[0])
        yield from ended(place, one[1])

    tried(ledger, place, "rule sets", ledger.count(5_000 // CHUNKS, 60), chunk, drawn, run)


def test_what_is_forbidden_is_seen(place: Place, tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def forbidden(call: list[str]) -> int:
        sys.stdout.write("\x1b[2J")
        sys.stderr.write("Traceback" + 501 * "x")
        warnings.warn("raw", stacklevel=1)
        (elsewhere / "a").write_text("written")
        (place.inside / "text.txt").write_text("changed")
        return 70

    monkeypatch.setattr(app, "run_command", forbidden)
    told = "\n".join(ended(place, []))
    for what in ("exit code 70", "a traceback", "what a terminal obeys", "a message of 510", "a warning: raw"):
        assert what in told
    assert f"written elsewhere: open '{elsewhere}/a'" in told
    assert "changed 'text.txt'" in told
    assert (place.inside / "text.txt").read_text() == "some text\n"


def test_a_call_without_end_is_seen(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(call: list[str]) -> int:
        while True:
            with contextlib.suppress(Exception):
                sum(range(1000))

    monkeypatch.setattr(app, "run_command", endless)
    monkeypatch.setattr(sys.modules[__name__], "SOON", 0.2)
    assert list(ended(place, [])) == ["EndlessError: not over after 0.2 s of processor time"]


def test_a_strategy_that_filters_nearly_all_away_is_seen() -> None:
    nothing = SimpleNamespace(slowest=0.0, codes=Counter[str]())
    some, none = "4 were tried, and 60 were to be", "tried nothing"
    for drawn, said in ((st.integers(0, 3), some), (st.integers().filter(lambda number: number < number), none)):
        with pytest.raises(AssertionError, match=said):
            tried(Ledger(None), nothing, "recipes", 60, 0, drawn, lambda one: iter(()))
