"""What a process takes from itself before it runs somebody's code.

Three layers, each as far as the system has it; none needs root:

1. Namespaces of its own (Linux, where users may have them): no network, every file read-only but those of one folder,
   and no process outside can be seen or ended; what it starts ends with it.
2. Limits of the system (Linux, macOS): memory, processor time, size of a file.
3. A hook of Python's own (everywhere): connecting, writing outside the folder and ending others raise an error.

It is a fence against accidents and carelessness, and no vault: who writes C code that looks for a hole may find one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_NEWNS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x00020000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _RDONLY = 442, -100, 0x8000, 1
_PR_SET_PDEATHSIG, _SIGKILL = 1, 9
_FILE_BYTES = 1 << 28

# names of Python's audit events
_CONNECTING = frozenset(
    {"socket.bind", "socket.connect", "socket.getaddrinfo", "socket.gethostbyaddr", "socket.gethostbyname"}
    | {"socket.sendmsg", "socket.sendto", "urllib.Request"}
)
_WRITING = frozenset(
    {"os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate"}
    | {"os.utime", "shutil.move", "shutil.rmtree"}
)
_STARTING = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.startfile", "pty.spawn"}


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64), ("clear", ctypes.c_uint64), ("propagation", ctypes.c_uint64),
        ("namespace", ctypes.c_uint64),
    )  # fmt: skip


def enter(folder: Path, ended: Callable[[int], None]) -> bool:
    """Go on in a child that is fenced in; the process itself, which must have one thread, waits for it.

    Args:
        folder: that alone can still be written, where the system has namespaces.
        ended: called in the process itself with the exit code of the child, a signal being 128 and its number; then
            the process ends, with all of its group.

    Returns:
        in the child: whether it has namespaces of its own.
    """
    _end_with_parent()
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    # tried in a child first, for half of a fence cannot be taken down again
    apart = sys.platform == "linux" and _in_child(lambda: _unshare(libc, user, group) and _read_only(libc, folder))
    if apart:
        _unshare(libc, user, group)
        _end_with_parent()  # new rights have undone it
    _go_on_in_child(ended)  # the process itself stays outside of the new process namespace
    _end_with_parent()
    if apart:
        _read_only(libc, folder)
        # the first process of a namespace ignores signals; when it ends, all others in it do
        _go_on_in_child(os._exit)
    return apart


def _in_child(what: Callable[[], bool]) -> bool:
    pid = os.fork()
    if not pid:
        os._exit(0 if what() else 1)
    return os.waitpid(pid, 0)[1] == 0


def _unshare(libc: Any, user: int, group: int) -> bool:
    if libc.unshare(_NEWUSER | _NEWNS | _NEWPID | _NEWNET | _NEWIPC) != 0:
        return False
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    except OSError:
        return False
    return True


def _read_only(libc: Any, folder: Path) -> bool:
    place = os.fsencode(folder.resolve())
    if libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None) or libc.mount(place, place, None, _MS_BIND, None):
        return False
    for where, flags, attributes in (
        (b"/", _AT_RECURSIVE, _MountAttributes(set=_RDONLY)),
        (place, 0, _MountAttributes(clear=_RDONLY)),
    ):
        size = ctypes.c_size_t(ctypes.sizeof(attributes))
        if libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, where, flags, ctypes.byref(attributes), size) != 0:
            return False
    os.chdir(folder)  # through the mount that can be written
    return True


def _go_on_in_child(ended: Callable[[int], None]) -> None:
    pid = os.fork()
    if pid:
        while True:
            one, status = os.wait()
            if one == pid:
                code = os.waitstatus_to_exitcode(status)
                ended(code if code >= 0 else 128 - code)
                os.killpg(0, _SIGKILL)


def _end_with_parent() -> None:
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL)


def limits(seconds: int, memory: int) -> None:
    """Limit this process from now on, as far as the system has such limits.

    Args:
        seconds: of processor time, from now.
        memory: in bytes, beyond what it has now.
    """
    try:
        import resource
    except ImportError:  # Windows
        return
    used = sum(os.times()[:2])
    for name, limit in (
        ("RLIMIT_CORE", 0),
        ("RLIMIT_FSIZE", _FILE_BYTES),
        ("RLIMIT_CPU", int(used) + 1 + seconds),
        ("RLIMIT_AS", address_space() + memory),
    ):
        kind = getattr(resource, name, None)
        with contextlib.suppress(OSError, ValueError):
            if kind is not None:
                resource.setrlimit(kind, (limit, limit))


def address_space() -> int:
    """Bytes of addresses that this process has now; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 1 << 36  # of macOS: it counts what is mapped and never used


def refuse(folder: Path, starting: bool) -> None:
    """From now on Python itself refuses to connect, to write outside a folder and to end other processes.

    Args:
        folder: that can still be written.
        starting: whether it may start processes; what they do, this hook does not see.
    """
    inside = os.path.realpath(folder)
    own = os.getpid()

    def allowed(path: Any) -> bool:
        if isinstance(path, int) or path is None:
            return True
        full = os.path.realpath(os.fsdecode(path))
        return full == inside or full.startswith(inside + os.sep) or full in (os.devnull, "/dev/tty")

    def hook(event: str, arguments: Sequence[Any]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = any(letter in mode for letter in "wax+") if isinstance(mode, str) else False
            writes = writes or bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
            if writes and not allowed(path):
                raise PermissionError(f"while it is checked it may write only in its own folder, not {path}")
        elif event in _CONNECTING:
            raise PermissionError("while it is checked it has no network")
        elif event in _WRITING:
            paths = [part for part in arguments if isinstance(part, str | bytes | os.PathLike)]
            if not all(map(allowed, paths)):
                raise PermissionError(f"while it is checked it may change only its own folder, not {paths[0]!r}")
        elif event in _STARTING and not starting:
            raise PermissionError("while it is checked it may start no programs")
        elif event in ("os.kill", "os.killpg") and arguments[0] != own and not starting:
            raise PermissionError("while it is checked it may end no other process")

    sys.addaudithook(hook)
