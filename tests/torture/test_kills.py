"""Killed with -9 at any moment, a job goes on from its last checkpoint and ends as if nothing had happened.

A job is a real process that does what the command line does: see forking.py. In the sample some parts are left out.
"""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from image_sets import image_folder, npz_file, parquet_set, picture
from killing import Job, Place, Server, content, newest, told, torn, trained
from ledger import WHERE, chosen
from test_together import free_port
from test_torchrun import ranks

from flyweight import data
from flyweight.data.cache import unsealed_json
from flyweight.data.cifar10 import find
from flyweight.files import UNFINISHED
from flyweight.runs.folder import Run

pytestmark = pytest.mark.skipif(
    not (Path("/proc/self/stat").exists() and Path("/dev/shm").exists()),
    reason="this system does not tell which processes and shared memory there are, as Linux does",
)

FULL = WHERE in os.environ
PLANS = {
    "digits, no worker": ("digits", 0),
    "digits, two workers": ("digits", 2),
    "CIFAR-10, no worker": ("cifar10", 0),
    "CIFAR-10, two workers": ("cifar10", 2),
}
WRITTEN = ("epoch-", "epoch-", "epoch-", "epoch-", "model", "config.json", "config.yaml", "history", "env", "train.log")
"""Beginnings of names of files whose writing is waited for."""
AGED = 700
"""Seconds: what a killed evaluation or report has left is removed by the next one ten minutes later."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    more = ("onnxscript", "torch.onnx", "torch.distributed.run", "flyweight.report.report")
    serving = Server(*more) if FULL else Server()
    yield serving
    serving.close()


@pytest.fixture(scope="module")
def cifar10(tmp_path_factory) -> Path:
    """A cache with its arrays, which no test changes."""
    try:
        data.load("cifar10", download=False)
    except data.NoDataError as error:
        pytest.skip(str(error))
    cache = tmp_path_factory.mktemp("cifar10")
    for folder in data.cache_folder().glob("cifar10-*/"):
        shutil.copytree(folder, cache / folder.name)
    return cache


@pytest.fixture
def place(server, tmp_path, request) -> Place:
    """Where jobs run; with arrays of CIFAR-10 where the test's plan has it."""
    own = {}
    if "CIFAR-10" in request.node.callspec.params.get("plan", ""):
        own = {"FLYWEIGHT_CACHE": str(request.getfixturevalue("cifar10"))}
    return Place(tmp_path / "place", server, own)


def training(plan: str, epochs: int) -> Callable[[str], list[str]]:
    """The call of a training, by its run folder."""
    name, workers = PLANS[plan]
    settings = (
        "data.train_images=128", "data.test_images=50", "train.batch_size=32", "train.precision=float32",
        f"train.workers={workers}", "train.ema=0.9", "model.dropout=0.1", "rules=null",
    )  # fmt: skip
    changes = [text for setting in settings for text in ("--set", setting)]
    return lambda out: [
        "train", "sprint", "--data", name, "--epochs", str(epochs), "--no-report", "--out", out, *changes,
    ]  # fmt: skip


Start = Callable[[Place, list[str]], list[Job]]
Kill = Callable[[list[Job], Run, random.Random, float], bool]


def one(place: Place, call: list[str]) -> list[Job]:
    return [place.begin(*call)]


def two(place: Place, call: list[str]) -> list[Job]:
    """Two processes that are told of each other as torchrun tells them."""
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [place.begin(*call, RANK=rank, LOCAL_RANK=rank, **common) for rank in ("0", "1")]


def torchrun(place: Place, call: list[str]) -> list[Job]:
    return [
        place.begin("--standalone", "--nproc-per-node", "2", "-m", "flyweight", *call, module="torch.distributed.run")
    ]


def ended(jobs: list[Job]) -> bool:
    """Wait for their end; whether it was a good one."""
    codes = [job.end() for job in jobs]
    # 1 is torchrun's of a process that was killed, 6 that of a process whose peer is gone, 143 after SIGTERM
    assert set(codes) <= {0, 1, 6, 143, -signal.SIGKILL, -signal.SIGTERM}, (codes, jobs[0].said())
    return codes == [0] * len(jobs)


def at_any_moment(jobs: list[Job], run: Run, moments: random.Random, seconds: float) -> bool:
    """Kill one of the processes, or all; whether it was killed."""
    jobs[0].sleep(moments.uniform(0, seconds / 2))
    struck = moments.choice([*([job] for job in jobs), jobs])
    for job in struck:
        os.kill(job.pid, signal.SIGKILL)
    # as torchrun does with the others
    for job in jobs:
        if job not in struck:
            os.kill(job.pid, signal.SIGTERM)
            job.sleep(5)
            os.kill(job.pid, signal.SIGKILL)
    return not ended(jobs)


def in_a_write(jobs: list[Job], run: Run, moments: random.Random, seconds: float) -> bool:
    """Kill it when it is seen to write; it ends by itself where it does not write such a file."""
    (job,) = jobs
    waited_for, skipped, seen = moments.choice(WRITTEN), moments.randrange(3), set()
    before = set(written(run))  # left by the one that was killed before it
    while not job.ended:
        seen |= {name for name in written(run) if name.startswith(f".{waited_for}")} - before
        if len(seen) > (skipped if waited_for == "epoch-" else 0):
            break
        time.sleep(0.0002)
    else:
        return not ended(jobs)
    # some are whole within a millisecond
    time.sleep(moments.choice((0.0, moments.uniform(0, 0.002))))
    os.kill(job.pid, signal.SIGKILL)
    return not ended(jobs)


def written(run: Run) -> list[str]:
    """Temporary files of the run folder and its checkpoints."""
    found = []
    for folder in (run.folder, run.checkpoints):
        with suppress(FileNotFoundError), os.scandir(folder) as entries:
            found += [entry.name for entry in entries if entry.name.endswith(UNFINISHED)]
    return found


def by_rank(jobs: list[Job], run: Run, moments: random.Random, seconds: float) -> bool:
    """Kill torchrun and all of its processes, or one of these, which it tells the other."""
    (job,) = jobs
    # it takes longer to begin than to train: in the beginning, or after some epochs
    epochs = moments.randrange(4)
    if not epochs:
        job.sleep(moments.uniform(0, seconds / 2))
    while len(told(job)) < epochs and not job.ended:
        time.sleep(0.02)
    job.sleep(moments.uniform(0, 0.3) if epochs else 0)
    own, struck = ranks(job), moments.choice([0, 1, None])
    if struck in own:
        os.kill(own[struck], signal.SIGKILL)
        return not ended(jobs)
    code = job.kill(*own.values())
    for pid in job.family():
        os.kill(pid, signal.SIGKILL)
    return code != 0


@dataclass
class Kills:
    """What came of kills.

    Attributes:
        all: how many there were.
        writing: how many of them left a file or a folder half written.
        runs: trainings that were begun.
        broken: a line about each that went against the promise.
    """

    all: int = 0
    writing: int = 0
    runs: int = 0
    broken: list[str] = field(default_factory=list)


TRIES = 12
"""Kills that are tried at most for each that is to meet a write."""


def kill_trainings(
    place: Place, call: Callable[[str], list[str]], kills: int, seed: str, start: Start, kill: Kill
) -> Kills:
    """Kill trainings so often, each time and again until one has ended.

    Of kills in a write those alone count that have met one.
    """
    moments, found = random.Random(seed), Kills()
    began = time.monotonic()
    assert ended(start(place, call("whole"))), place.jobs[0].said()
    seconds, expected = time.monotonic() - began, trained(Run(place.folder / "whole"))
    done = 0
    while done < kills and found.all + found.runs < TRIES * kills:
        run = Run(place.folder / f"run{found.runs}")
        found.runs += 1
        going = True
        while going:
            known = newest(run)[0]
            resume = ["train", "--resume", str(run.folder), "--no-report"]
            jobs = start(place, resume if run.config.is_file() else call(run.folder.name))
            last = done >= kills or found.all + found.runs >= TRIES * kills  # after the last kill it may end
            before = set(torn(run.folder))
            going = not ended(jobs) if last else kill(jobs, run, moments, seconds)
            found.all += going
            found.writing += going and not before.issuperset(torn(run.folder))
            done = found.writing if kill is in_a_write else found.all
            epochs = told(jobs[0])
            if epochs != list(range(known + 1, known + 1 + len(epochs))):
                found.broken.append(f"{run.folder}: the checkpoint has {known} epochs, and these followed: {epochs}")
            if going and last:
                found.broken.append(f"{run.folder}: it does not go on: {jobs[0].said()}")
                return found
        left = trained(run)
        found.broken += [f"{run.folder}: {name} differs" for name, value in expected.items() if left[name] != value]
    if done < kills:
        found.broken.append(
            f"{found.all} kills of {found.runs} trainings, {found.writing} in a write: {kills} were to be"
        )
    found.broken += place.broken()
    return found


@pytest.mark.parametrize(
    ("plan", "chunk"), chosen([(plan, chunk) for plan in PLANS for chunk in range(3)], [("digits, two workers", 0)])
)
def test_a_training_goes_on(ledger, place, plan, chunk):
    kills, call = ledger.count(11, 1), training(plan, ledger.count(12, 3))
    found = kill_trainings(place, call, kills, f"{plan} {chunk}", one, at_any_moment)
    ledger.record("kills", "training, one process", found.all, found.broken, in_a_write=found.writing, runs=found.runs)


IN_A_WRITE = [*((plan, 0) for plan in PLANS), ("digits, no worker", 1), ("CIFAR-10, no worker", 1)]


@pytest.mark.parametrize(("plan", "chunk"), chosen(IN_A_WRITE, [("digits, no worker", 0)]))
def test_a_training_killed_in_a_write_goes_on(ledger, place, plan, chunk):
    kills, call = ledger.count(8, 1), training(plan, ledger.count(12, 3))
    found = kill_trainings(place, call, kills, f"written {plan} {chunk}", one, in_a_write)
    ledger.record(
        "kills", "training, to meet a write", found.all, found.broken, in_a_write=found.writing, runs=found.runs
    )


TWO = [*((chunk, two, at_any_moment, 10) for chunk in range(3)), (3, torchrun, by_rank, 5), (4, torchrun, by_rank, 5)]


@pytest.mark.parametrize(
    ("chunk", "start", "kill", "kills"), chosen(TWO, [pytest.param(0, two, at_any_moment, 2, marks=pytest.mark.long)])
)
def test_two_processes_go_on(ledger, place, chunk, start, kill, kills):
    call = training("digits, two workers" if chunk % 2 else "digits, no worker", 12)
    found = kill_trainings(place, call, kills, f"two {chunk}", start, kill)
    ledger.record("kills", "training, two processes", found.all, found.broken, in_a_write=found.writing)


def images(kind: str, folder: Path) -> list[str]:
    """The call of a job that converts a set of so many images that processes of their own decode them."""
    if kind == "CIFAR-10":
        beside = find.checkout()
        if not os.environ.get(find.DATA_VARIABLE) and not (beside and (beside.parent / "shared" / "cifar10").exists()):
            pytest.skip(f"the files of CIFAR-10 are to be converted: say where they are with {find.DATA_VARIABLE}")
        return training("CIFAR-10, no worker", 1)("run")
    folder.mkdir()
    if kind == "folder":
        found = image_folder(folder / "set", ("cat", "dog", "fox"), each=200)
    elif kind == "parquet":
        found = parquet_set(folder / "set", each=100)
    else:
        arrays = {
            f"{split}_{what}": [picture(n, 28, 28) if what == "images" else n % 2 for n in range(first, first + count)]
            for split, first, count in (("train", 0, 500), ("test", 500, 100))
            for what in ("images", "labels")
        }
        found = npz_file(folder / "set.npz", **arrays)
    return ["data", str(found)]


def converted(cache: Path) -> dict[str, object]:
    """All files of a cache, but for their times."""
    found: dict[str, object] = dict(content(cache))
    for name in [name for name in found if name.endswith("manifest.json")]:
        manifest = unsealed_json((cache / name).read_text(encoding="utf-8"))
        for kept in manifest.get("files", {}).values():
            del kept["time"]
        found[name] = manifest
    return found


@pytest.mark.parametrize(
    ("kind", "kills"), chosen([("folder", 9), ("parquet", 9), ("npz", 8), ("CIFAR-10", 4)], [("folder", 1)])
)
def test_a_conversion_begins_anew(ledger, place, tmp_path, kind, kills):
    call, cache = images(kind, tmp_path / "images"), place.folder / "cache"
    began = time.monotonic()
    job = place.begin(*call)
    while not list(cache.glob("*/manifest.json")) and not job.ended:
        time.sleep(0.01)
    seconds = time.monotonic() - began
    assert ended([job]), job.said()
    expected, moments, broken, done, midway = converted(cache), random.Random(kind), [], 0, 0
    while done < kills or (not midway and done < TRIES * kills):
        for turn in range(min(4, max(1, kills - done))):
            if list(cache.glob("[!.]*/manifest.json")):  # it was through
                shutil.rmtree(cache)
            shutil.rmtree(place.folder / "run", ignore_errors=True)
            before, job = set(torn(cache)), place.begin(*call)
            if turn % 2:
                job.sleep(moments.uniform(0, 1.1 * seconds))
            else:  # a fast disk writes for a moment alone
                wait_for_a_write(job, cache)
            done += job.kill() != 0
            midway += not before.issuperset(torn(cache))
        shutil.rmtree(place.folder / "run", ignore_errors=True)
        place.done(*call)
        if converted(cache) != expected:
            broken.append(f"{kind}: the arrays differ")
    broken += [f"{kind}: of {done} kills none has met a write"] * (not midway)
    ledger.record("kills", "conversion of a data set", done, broken + place.broken(), in_a_write=midway)


@pytest.fixture(scope="module")
def finished(server, tmp_path_factory) -> Path:
    """A run whose training has ended; no test changes it."""
    place = Place(tmp_path_factory.mktemp("finished") / "place", server)
    place.done(*training("digits, no worker", 1)("run"))
    return place.folder


def wait_for_a_write(job: Job, folder: Path) -> None:
    """Until something is seen to be written there, or the job has ended."""
    before = set(torn(folder))
    while not job.ended and before.issuperset(torn(folder)):
        time.sleep(0.0002)


AFTER = {
    "evaluation": ["evaluate", "run"],
    "report": ["report", "run"],
    "export": ["export", "run", "--to", "out", "--format", "onnx", "c", "huggingface"],
}


PARTS = [("evaluation", 0, 20), ("report", 0, 8), ("report", 1, 7), ("export", 0, 8), ("export", 1, 7)]


@pytest.mark.parametrize(
    ("what", "chunk", "kills"), chosen(PARTS, [pytest.param("evaluation", 0, 1, marks=pytest.mark.long)])
)
def test_what_follows_a_training_is_done_again(ledger, server, finished, tmp_path, what, chunk, kills):
    place = Place(tmp_path / "place", server, {"FLYWEIGHT_CACHE": str(finished / "cache")})
    for name in ("whole", "killed"):
        (place.folder / name).mkdir()
        shutil.copytree(finished / "run", place.folder / name / "run")
    seconds = place.done(*AFTER[what], within="whole")
    moments, broken, done, midway = random.Random(f"{what} {chunk}"), [], 0, 0
    killed = place.folder / "killed"
    while done < kills or (not midway and done < TRIES * kills):
        for turn in range(min(5, max(1, kills - done))):
            before, job = set(torn(killed)), place.begin(*AFTER[what], within="killed")
            if turn % 2:
                job.sleep(moments.uniform(0, seconds))
            else:
                wait_for_a_write(job, killed)
                job.sleep(moments.uniform(0, moments.choice((0.002, seconds / 4))))
            done += job.kill() != 0
            midway += not before.issuperset(torn(killed))
            for file in torn(killed):
                os.utime(file, (time.time() - AGED,) * 2)
            if (killed / "out").exists():  # an export is there as a whole, or not at all
                half = what == "export" and content(killed / "out") != content(place.folder / "whole" / "out")
                broken += [f"{what}: half of an export was left"] * half
                shutil.rmtree(killed / "out")
        place.done(*AFTER[what], within="killed")
        expected, found = content(place.folder / "whole"), content(killed)
        differing = [name for name in expected.keys() | found if expected.get(name) != found.get(name)]
        broken += [f"{what}: {name} differs" for name in sorted(differing)]
        shutil.rmtree(killed / "out", ignore_errors=True)
    broken += [f"{what}: of {done} kills none has met a write"] * (not midway)
    ledger.record("kills", "evaluation, report, export", done, broken + place.broken(), in_a_write=midway)
