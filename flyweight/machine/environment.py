"""On what a run was made: versions, processor, threads."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from flyweight import __version__
from flyweight.machine import launched


def describe() -> dict[str, Any]:
    """A flat record of this machine and of the program's versions, ready for JSON."""
    cuda = torch.cuda.is_available()
    return {
        "started": now(),
        "finished": None,
        "seconds": None,
        "command": shlex.join(["flyweight", *sys.argv[1:]]),
        "flyweight": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "accelerate": _version("accelerate"),
        "albumentations": _version("albumentations"),
        "opencv": _version("opencv-python-headless", "opencv-python"),
        "numpy": _version("numpy"),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": launched.world(),
        "device": torch.cuda.get_device_name() if cuda else "cpu",
    }


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def peak_memory_mib() -> float | None:
    """The most memory that this process has had resident so far, in MiB; none where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, everybody else KiB (getrusage(2))
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def available_memory() -> int | None:
    """Bytes that this process may still take, of the machine's or its container's; none where nobody tells."""
    of_all = [left for left in (_free_memory(), *_free_in_groups()) if left is not None]
    return min(of_all, default=None)


_GROUPS = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)
"""Files of control groups, of both versions: the most, what is used, and what that is used for."""


def _free_in_groups() -> Iterator[int]:
    """What control groups leave: the limit of a container is not in what the machine says."""
    for names in _GROUPS:
        with suppress(OSError, ValueError):  # no such group, or "max": no limit
            most, used, told = ((Path("/sys/fs/cgroup") / name).read_text(encoding="ascii") for name in names)
            parts = dict(line.split() for line in told.splitlines())
            # copies of files, which go when memory is needed
            spare = sum(int(parts.get(name, 0)) for name in ("inactive_file", "active_file"))
            yield max(0, int(most) - int(used) + spare)


def _free_memory() -> int | None:
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # Windows
        return None


def _version(*distributions: str) -> str | None:
    """Version of the first of these that is installed, read from its metadata: importing all would take seconds."""
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
