"""Two processes with gloo do what one does: see together_job.py."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import together_job
import torch
import torch.distributed as dist

from flyweight.cli import app
from flyweight.runs.folder import Run

JOB = Path(together_job.__file__)


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def together(folder, world):
    """All processes of a job, as torchrun starts them: what each of them found."""
    places = {"WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    processes = []
    for rank in range(world):
        environment = places | {"RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": 1}
        process = subprocess.Popen(
            [sys.executable, str(JOB), str(folder)],
            env=os.environ | {name: str(value) for name, value in environment.items()},
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        processes.append(process)
    for process in processes:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
    return [json.loads((folder / f"job{rank}.json").read_text()) for rank in range(world)]


def half(whole, folder):
    """The run folder of a training that was stopped after its first epoch."""
    run = Run.create(folder, Run(whole).recipe())
    run.checkpoints.mkdir()
    first = sorted((whole / "checkpoints").iterdir())[0]
    shutil.copy(first, run.checkpoints)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """What one process found and both of two, which also go on where one had stopped, and one where two had."""
    folder = tmp_path_factory.mktemp("together")
    one, two = folder / "one", folder / "two"
    one.mkdir()
    two.mkdir()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLYWEIGHT_CACHE", str(folder / "cache"))
        together_job.main(one)
        half(one / "run", two / "half")
        of_two = together(two, 2)
        half(two / "run", one / "half")
        of_one = json.loads((one / "job0.json").read_text()) | {"resumed": together_job.fit(one / "half")}
    torch.set_num_threads(threads)
    return folder, of_one, of_two


@pytest.mark.parametrize("name", [name for name, *_ in together_job.EXACT])
def test_loss_gradients_and_statistics_of_a_batch_are_those_of_one_process(jobs, name):
    _, one, two = jobs
    for each in two:
        assert each[name]["loss"] == pytest.approx(one[name]["loss"], rel=1e-12)
        assert each[name]["numbers"] == pytest.approx(one[name]["numbers"], rel=1e-7, abs=1e-10)
        # all have drawn the same: masks, phases
        assert each[name]["next"] == one[name]["next"]


def test_a_network_of_the_users_own_draws_for_its_own_images_and_is_normalised_by_all(jobs):
    _, one, two = jobs
    for each in two:
        assert each["own"]["loss"] == pytest.approx(one["own"]["loss"], rel=1e-12)
        assert each["own"]["numbers"] == pytest.approx(one["own"]["numbers"], rel=1e-7, abs=1e-10)
        # the generator that all share is where it was
        assert each["own"]["next"] != one["own"]["next"]
    assert two[0]["own"]["next"] == two[1]["own"]["next"]
    assert two[0]["drawn"] != two[1]["drawn"]


def test_the_evaluation_is_the_same_to_the_digit(jobs):
    _, one, two = jobs
    for each in two:
        assert each["said"] == one["said"]


@pytest.mark.parametrize("which", ["history", "taught"])
def test_a_training_goes_the_same_way(jobs, which):
    _, one, two = jobs
    for of_one, *of_two in zip(one[which], *(each[which] for each in two), strict=True):
        for row in of_two:
            assert row["train_loss"] == pytest.approx(of_one["train_loss"], rel=1e-6)
            assert row["test_loss"] == pytest.approx(of_one["test_loss"], rel=1e-6)
            assert row["test_correct"] == of_one["test_correct"]


def test_a_training_ends_with_the_same_state(jobs):
    folder, *_ = jobs
    contents = [Run(folder / name / "run").load_checkpoint()[0] for name in ("one", "two")]
    # each draw of the whole training was the same
    assert torch.equal(contents[0]["random"], contents[1]["random"])
    for section in ("network", "average"):
        torch.testing.assert_close(contents[1][section], contents[0][section], rtol=1e-5, atol=1e-6)


def test_a_training_goes_on_with_another_number_of_processes(jobs):
    _, one, two = jobs
    # two after one, one after two
    for resumed, first, whole in ((two[0], one, two[0]), (one, two[0], one)):
        rows = resumed["resumed"]
        assert rows[0] == first["history"][0]
        for name in ("train_loss", "test_loss"):
            assert rows[1][name] == pytest.approx(whole["history"][1][name], rel=1e-6)


def test_a_network_is_calibrated_by_all_processes_together(jobs):
    """What one did alone would have the others wait, and what each did for itself would take as long as one alone."""
    _, one, two = jobs
    assert [each["calibrated"]["card"] for each in two] == 2 * [one["calibrated"]["card"]]
    # batches of 128, in turn
    assert [each["calibrated"]["asked"] for each in (one, *two)] == [800, 512, 288]


def test_a_command_closes_what_connects_the_processes_before_python_does():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    with pytest.raises(SystemExit) as ended:
        app.main(["rules"])
    assert ended.value.code == 0
    assert not dist.is_initialized()
