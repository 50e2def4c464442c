"""The allocator keeps freed memory; elsewhere than on glibc nothing happens."""

import platform
import subprocess
import sys

import pytest

from flyweight.machine import allocator

FAULTS = """
import resource, sys
from flyweight.machine import allocator
if sys.argv[1] == "tuned":
    assert allocator.keep_freed_memory()
def use():
    block = bytearray(64 * 2**20)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_freed_memory_is_used_again():
    # in processes of their own: the settings stay
    faults = {
        name: int(subprocess.run([sys.executable, "-c", FAULTS, name], capture_output=True, check=True).stdout)
        for name in ("plain", "tuned")
    }
    # five blocks of 16,384 pages of 4 KB, fewer where the kernel gives large ones
    assert faults["tuned"] < 100
    assert faults["tuned"] < faults["plain"]


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(allocator.ctypes, "CDLL", None)
    assert allocator.keep_freed_memory() is False


def test_a_c_library_without_these_settings(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    assert allocator.keep_freed_memory() is False
