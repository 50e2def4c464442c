"""The processes that load batches."""

import os
import subprocess
import sys

import pytest
from test_killed import gone

CODE = """
import os, signal, time
import torch
from flyweight.training.batches import Positions, loader

class Large:
    def __getitem__(self, position):
        return torch.zeros(1_000_000, dtype=torch.uint8), torch.zeros(1)

batches = iter(loader(Large(), Positions(9), 2))
next(batches)
time.sleep(0.5)  # both have more than a pipe holds, and nobody reads it
print(*[worker.pid for worker in batches._workers], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name != "posix", reason="this system has no such signals")
def test_they_end_with_the_process_that_began_them():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    workers = [int(pid) for pid in done.stdout.split()]
    assert len(workers) == 2, done.stderr
    assert gone(workers, within=3)
