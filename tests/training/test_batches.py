"""The processes that load batches."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_killed import gone

from flyweight.training.batches import PIPE, Positions, loader

try:
    import fcntl
except ImportError:
    fcntl = None

CODE = """
import os, signal, time
import torch
from flyweight.training.batches import Positions, loader

class Large:
    def __getitem__(self, position):
        return torch.zeros(4_000_000, dtype=torch.uint8), torch.zeros(1)

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


@pytest.mark.skipif(not hasattr(fcntl, "F_GETPIPE_SZ"), reason="pipes of this system have the size that they have")
def test_their_pipe_holds_a_batch():
    batches = iter(loader({(0, 0): (torch.zeros(3),)}, Positions(1), 1))
    # torch may call it otherwise some day: then a batch comes in pieces again, and this test tells
    size = fcntl.fcntl(batches._worker_result_queue._reader, fcntl.F_GETPIPE_SZ)
    assert size == PIPE or size <= int(Path("/proc/sys/fs/pipe-max-size").read_text()) < PIPE
