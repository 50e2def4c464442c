"""`torchrun -m flyweight`: real processes, real signals. What they compute is in test_together.py."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_together import free_port

from flyweight.runs.card import load_trained
from flyweight.runs.folder import Run

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
TRAIN = [
    "-m", "flyweight", "train", "sprint", "--data", "digits", "--no-report",
    "--set", "data.train_images=512", "--set", "data.test_images=200", "--set", "train.batch_size=64",
]  # fmt: skip


@pytest.fixture
def environment(tmp_path):
    return {**os.environ, "FLYWEIGHT_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}


def start(*command, **options):
    return subprocess.Popen([*TORCHRUN, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def ranks(torchrun):
    """The processes that torchrun started, by rank."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            settings = (status.parent / "environ").read_text().split("\0") if parent == torchrun.pid else []
        except OSError:  # it has ended
            continue
        found |= {int(one.partition("=")[2]): int(status.parent.name) for one in settings if one.startswith("RANK=")}
    return found


def after_epoch_two(process):
    """Its standard error so far."""
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("Epoch 2/"):
            time.sleep(0.2)
            return lines
    raise AssertionError("".join(lines))


def ours(lines):
    """What flyweight said: torchrun dates its lines, and its report of a failure is between two rules."""
    return [line for line in lines if line.startswith(("flyweight: ", "stopped", "Epoch", "run folder", "this is"))]


@pytest.mark.long
def test_two_processes_train_and_evaluate_with_one_voice(tmp_path, environment):
    both = ("--standalone", "--nproc-per-node", "2")
    training = start(*both, *TRAIN, "--epochs", "2", "--out", str(tmp_path / "run"), env=environment)
    out, err = training.communicate()
    assert training.returncode == 0, err
    assert [line.partition(" ")[0] for line in ours(err.splitlines())] == ["run", "Epoch", "Epoch"]
    assert out.startswith("test accuracy")
    assert out.count("\n") == 1
    assert load_trained(tmp_path / "run").card.data == "digits"
    call = ["-m", "flyweight", "evaluate", str(tmp_path / "run"), "--json"]
    alone = subprocess.run([sys.executable, *call], env=environment, capture_output=True, text=True, check=True)
    together, err = start(*both, *call, env=environment).communicate()
    assert json.loads(together)["correct"] == Run(tmp_path / "run").history()[-1]["test_correct"]
    assert together == alone.stdout


def goes_on_alone(run, environment):
    """What was stopped in the third epoch is saved in its midst, and one process goes on from that step to the end."""
    content, damaged = run.load_checkpoint()
    assert not damaged
    assert (content["epoch"], content["step"] > 0) == (2, True)
    call = [sys.executable, "-m", "flyweight", "train", "--resume", str(run.folder), "--no-report"]
    done = subprocess.run(call, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [row["epoch"] for row in run.history()] == [1, 2, 3, 4]


@pytest.mark.long
@pytest.mark.parametrize(("number", "workers"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGTERM, 1)], ids=str)
def test_a_signal_to_torchrun_saves_once_and_loses_nothing(tmp_path, environment, number, workers):
    run = Run(tmp_path / "run")
    more = ("--epochs", "4", "--out", str(run.folder), "--set", f"train.workers={workers}")
    process = start("--standalone", "--nproc-per-node", "2", *TRAIN, *more, env=environment)
    lines = after_epoch_two(process)
    process.send_signal(number)
    lines += process.communicate()[1].splitlines()
    assert [line for line in ours(lines) if line.startswith(("stopped", "flyweight"))] == [
        f"stopped; nothing is lost. Go on with: flyweight train --resume {run.folder}"
    ]
    goes_on_alone(run, environment)


@pytest.mark.long
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_dies_ends_all_with_one_line(tmp_path, environment, rank):
    more = ("--epochs", "40", "--out", str(tmp_path / "run"))
    process = start("--standalone", "--nproc-per-node", "2", *TRAIN, *more, env=environment)
    lines = after_epoch_two(process)
    os.kill(ranks(process)[rank], signal.SIGKILL)
    lines += process.communicate(timeout=60)[1].splitlines()
    assert process.returncode
    told = [line for line in ours(lines) if line.startswith(("stopped", "flyweight"))]
    assert len(told) == 1
    assert told[0].startswith("flyweight: another process of this job has ended, and this one with it (")
    assert "--resume" in told[0]
    assert Run(tmp_path / "run").load_checkpoint()[0]["epoch"] >= 2


@pytest.mark.long
def test_without_torchrun_all_save_and_end(tmp_path, environment):
    """It was killed with -9, and could tell them nothing."""
    run = Run(tmp_path / "run")
    more = ("--epochs", "4", "--out", str(run.folder))
    process = start("--standalone", "--nproc-per-node", "2", *TRAIN, *more, env=environment)
    lines = after_epoch_two(process)
    process.kill()
    # they hold the pipes as long as they live
    lines += process.communicate(timeout=240)[1].splitlines()
    assert [line for line in ours(lines) if line.startswith(("stopped", "flyweight"))] == [
        f"stopped with torchrun; nothing is lost. Go on with: flyweight train --resume {run.folder}"
    ]
    goes_on_alone(run, environment)


@pytest.mark.long
def test_a_wrong_call_is_told_once(tmp_path, environment):
    process = start("--standalone", "--nproc-per-node", "2", "-m", "flyweight", "train", "sprnt", env=environment)
    told = ours(process.communicate()[1].splitlines())
    assert len(told) == 1
    assert told[0].startswith("flyweight: no recipe 'sprnt'")


@pytest.mark.long
def test_two_machines_of_which_one_has_the_run_folder(tmp_path, environment):
    """Loopback and static rendezvous: each machine has its folder and its cache."""

    def both(*call, second=()):
        meeting = ("--nnodes", "2", "--nproc-per-node", "1")
        meeting += ("--master-addr", "127.0.0.1", "--master-port", str(free_port()))
        machines = []
        for number in (0, 1):
            folder = tmp_path / f"machine{number}"
            folder.mkdir(exist_ok=True)
            own = environment | {"FLYWEIGHT_CACHE": str(folder / "cache")}
            more = second if number else ()
            machines.append(start(*meeting, "--node-rank", str(number), *call, *more, cwd=folder, env=own))
        return [(machine.communicate()[1], machine.returncode) for machine in machines]

    (first, code), (other, other_code) = both(*TRAIN, "--epochs", "2", "--out", "run")
    assert (code, other_code) == (0, 0), first + other
    assert ours(other.splitlines()) == []
    run = Run(tmp_path / "machine0" / "run")
    whole = run.history()
    assert not (tmp_path / "machine1" / "run").exists()
    sorted(run.checkpoints.iterdir())[-1].unlink()
    run.weights.unlink()
    (first, code), (other, other_code) = both("-m", "flyweight", "train", "--resume", "run", "--no-report")
    assert (code, other_code) == (0, 0), first + other
    assert run.history()[-1]["train_loss"] == whole[-1]["train_loss"]
    results = both(*TRAIN, "--epochs", "2", "--out", "other", second=("--seed", "1"))
    for text, code in results:
        assert code
        (told,) = ours(text.splitlines())
        assert told.startswith(
            "flyweight: train.seed is 0 in the first process and 1 in process 2: give all machines the same call and"
            " the same data"
        )
    assert not (tmp_path / "machine0" / "other").exists()
