"""Files are there whole or not at all; locks and hashes."""

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flyweight import disk, files, neighbours
from flyweight.errors import DataError, RunError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_whole_with_the_rights_of_any_other(tmp_path):
    files.write_text(tmp_path / "a.txt", "héllo")
    files.write_bytes(tmp_path / "a.txt", b"second")
    assert (tmp_path / "a.txt").read_bytes() == b"second"
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert names(tmp_path) == ["a.txt", "plain"]


def test_a_name_is_given_to_what_is_on_the_disk(tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, os.replace

    def synced(descriptor):
        status = os.fstat(descriptor)
        done.append("folder" if stat.S_ISDIR(status.st_mode) else status.st_size)
        fsync(descriptor)

    def named(*paths):
        done.append("name")
        replace(*paths)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", named)
    files.write_bytes(tmp_path / "a.txt", b"first")
    os.link(tmp_path / "a.txt", tmp_path / "another name of it")
    files.write_bytes(tmp_path / "a.txt", b"second")
    assert done == [5, "name", "folder", 6, "name", "folder"]
    # nothing was written into what was there
    assert (tmp_path / "another name of it").read_bytes() == b"first"


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    files.write_text(tmp_path / "a.txt", "first")
    monkeypatch.setattr(files, "flush", lambda file: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(RunError, match=r"cannot write .*a.txt: No space left on device; .* is unchanged"):
        files.write_text(tmp_path / "a.txt", "second")
    assert (tmp_path / "a.txt").read_text() == "first"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.name != "posix", reason="this system does not sync folders")
def test_a_folder_that_cannot_be_synced_is_one_line_and_the_new_file_is_there(tmp_path, monkeypatch):
    files.write_text(tmp_path / "a.txt", "first")
    sync = os.fsync

    def refused(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", refused)
    with pytest.raises(RunError, match=r"a.txt is written, but may be gone after a power cut: Input/output error"):
        files.write_text(tmp_path / "a.txt", "second")
    assert (tmp_path / "a.txt").read_text() == "second"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.name != "posix", reason="this system does not sync folders")
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("kind", [RunError, DataError])
def test_a_folder_whose_name_cannot_be_synced_is_told_as_what_it_is(tmp_path, monkeypatch, before, kind):
    """It is there, whole; only its name may be gone after a power cut."""
    if before:
        with files.whole_folder(tmp_path / "set") as folder:
            (folder / "first").touch()
    sync, above = os.fsync, tmp_path.stat().st_ino

    def refused(descriptor):
        if os.fstat(descriptor).st_ino == above:
            raise OSError(errno.EIO, "Input/output error")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", refused)
    with pytest.raises(kind) as caught, files.whole_folder(tmp_path / "set", kind) as folder:
        (folder / "second").touch()
    assert str(caught.value) == (
        f"{tmp_path / 'set'} is written, but may be gone after a power cut: Input/output error; see to the disk,"
        " and do it again"
    )
    assert names(tmp_path) == ["set"]
    assert names(tmp_path / "set") == ["second"]


@pytest.fixture
def synced(monkeypatch):
    """Paths of what is synced, in their order."""
    found, sync = [], os.fsync

    def noted(descriptor):
        found.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a descriptor is of")
def test_the_names_of_new_folders_are_on_the_disk(tmp_path, synced):
    disk.make_folders(tmp_path / "a" / "b")
    disk.make_folders(tmp_path / "a" / "b")
    assert synced == [tmp_path, tmp_path / "a"]
    assert disk.new_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b-2"
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a descriptor is of")
def test_all_of_a_folder_is_on_the_disk_before_it_appears(tmp_path, synced):
    with files.whole_folder(tmp_path / "set") as folder:
        (folder / "in").mkdir()
        (folder / "in" / "file").write_bytes(b"1")
    assert {path.relative_to(folder).as_posix() for path in synced[:-1]} == {"in/file", "in", "."}
    assert synced[-1] == tmp_path


def test_a_folder_appears_when_it_is_complete(tmp_path):
    left = tmp_path / ".set-01234567.unfinished"  # what a killed process left
    left.mkdir()
    (left / "half").touch()
    (tmp_path / ".set-20260101").mkdir()  # somebody's own
    for content in ("first", "second"):
        with files.whole_folder(tmp_path / "set") as folder:
            (folder / content).touch()
            assert (tmp_path / "set").exists() == (content == "second")
        assert names(tmp_path / "set") == [content]
    assert names(tmp_path) == [".set-20260101", "set"]


def test_a_folder_that_could_not_be_filled_leaves_what_was_there(tmp_path):
    with files.whole_folder(tmp_path / "set") as folder:
        (folder / "first").touch()
    with pytest.raises(ZeroDivisionError), files.whole_folder(tmp_path / "set"):
        raise ZeroDivisionError
    assert names(tmp_path) == ["set"]
    assert names(tmp_path / "set") == ["first"]


def test_a_folder_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    with files.whole_folder(tmp_path / "set") as folder:
        (folder / "first").touch()
    rename = Path.rename

    def refused(path, target):
        if path.name.endswith(files.UNFINISHED):
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refused)
    # as where folders cannot be exchanged at one stroke
    monkeypatch.setattr(files, "exchanged", lambda *_: False)
    with pytest.raises(OSError, match="No space"), files.whole_folder(tmp_path / "set") as folder:
        (folder / "second").touch()
    assert names(tmp_path) == ["set"]
    assert names(tmp_path / "set") == ["first"]


KILLED = """
import os, sys
from pathlib import Path
from flyweight import disk, files
if sys.argv[2] == "by two renames":
    files.exchanged = lambda one, other: False
count, replace = 0, Path.rename
def dies(self, target):
    global count
    count += 1
    if count > int(sys.argv[3]):
        os.kill(os.getpid(), 9)
    return replace(self, target)
Path.rename = dies
with files.whole_folder(Path(sys.argv[1])) as folder:
    (folder / "second").touch()
    if sys.argv[2] == "half":
        os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
@pytest.mark.parametrize(("how", "renames"), [("half", 0), ("by two renames", 0), ("by two renames", 1)])
def test_a_folder_outlives_whoever_is_killed_while_it_is_replaced(tmp_path, how, renames):
    with files.whole_folder(tmp_path / "set") as folder:
        (folder / "first").touch()
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "set"), how, str(renames)], check=False)
    assert done.returncode == -9
    assert any(name.startswith(".set-") for name in names(tmp_path))
    with pytest.raises(ZeroDivisionError), files.whole_folder(tmp_path / "set"):
        raise ZeroDivisionError
    assert names(tmp_path) == ["set"]
    assert names(tmp_path / "set") == ["first"]


@pytest.mark.skipif(sys.platform != "linux", reason="folders are exchanged at one stroke on Linux alone")
def test_a_folder_that_is_replaced_is_never_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(files.Path, "rename", lambda self, target: pytest.fail("it is away for a moment"))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "first").touch()
    with files.whole_folder(tmp_path / "set") as folder:
        (folder / "second").touch()
    assert names(tmp_path) == ["set"]
    assert names(tmp_path / "set") == ["second"]


def test_where_nothing_can_be_locked_only_what_is_old_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(neighbours, "fcntl", None)
    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path))
    old, theirs = tmp_path / ".flyweight-aaaaaaaa.unfinished", tmp_path / ".flyweight-bbbbbbbb.unfinished-old"
    for folder in (old, theirs):
        folder.mkdir()
    os.utime(old, (1, 1))
    with files.scratch() as first, files.scratch():
        # what looks as if it were put aside is not brought back in a place where anybody writes
        assert first.exists()
        assert not old.exists()
    assert names(tmp_path) == [theirs.name]


def test_a_folder_that_cannot_be_looked_at_is_taken_away_again(tmp_path, monkeypatch):
    exists = Path.exists

    def refused(path):
        if path.name.endswith(files.UNFINISHED):
            raise OSError(5, "Input/output error")
        return exists(path)

    with monkeypatch.context() as broken:
        broken.setattr(Path, "exists", refused)
        with pytest.raises(OSError, match="Input/output"), files.whole_folder(tmp_path / "set"):
            pass
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="Windows locks no folder")
def test_what_another_process_fills_for_the_same_place_is_left_alone(tmp_path):
    with files.whole_folder(tmp_path / "set") as folder:
        (folder / "slow").touch()
        with files.whole_folder(tmp_path / "set") as other:
            (other / "fast").touch()
        assert names(tmp_path / "set") == ["fast"]
    assert names(tmp_path / "set") == ["slow"]
    assert names(tmp_path) == ["set"]


def test_what_a_kill_left_of_a_file_goes_when_it_is_written_again(tmp_path):
    old, young, other = (tmp_path / f".{name}.unfinished" for name in ("a.csv.abcdefgh", "a.csv.abcdefg_", "a_csv.abc"))
    for path in (old, young, other):
        path.touch()
    os.utime(old, (1, 1))
    files.write_text(tmp_path / "a.csv", "whole")
    assert names(tmp_path) == sorted([young.name, other.name, "a.csv"])


def test_a_hash_is_that_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert files.file_hash(tmp_path / "a", "md5") == "900150983cd24fb0d6963f7d28e17f72"
    assert files.file_hash(tmp_path / "a").startswith("ba7816bf8f01cfea")


def test_a_flipped_bit_breaks_the_seal():
    raw = files.sealed(b"content")
    assert files.unsealed(raw) == b"content"
    for at in range(len(raw)):
        assert files.unsealed(raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :]) is None
    assert files.unsealed(b"") is None
    assert files.unsealed(raw[:-1]) is None


def test_a_lock_is_refused_or_waited_for(tmp_path):
    path, heard = tmp_path / "lock", []

    def refuse():
        raise RunError("busy")

    def wait():
        with files.locked(path, lambda: heard.append("waiting")):
            heard.append("mine")

    with files.locked(path, refuse):
        with pytest.raises(RunError, match="busy"), files.locked(path, refuse):
            pass
        waiter = threading.Thread(target=wait)
        waiter.start()
        while not heard:
            pass
        assert heard == ["waiting"]
    waiter.join(timeout=10)
    assert heard == ["waiting", "mine"]


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_a_lock_dies_with_its_process(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from flyweight import files\n"
        "with files.locked(Path(sys.argv[1]), lambda: None): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "lock")], check=False)
    with files.locked(tmp_path / "lock", lambda: pytest.fail("it is held by a dead process")):
        pass


def test_a_lock_in_no_folder_is_an_error_of_the_file_system(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError), files.locked(tmp_path / "file" / "lock", lambda: None):  # noqa: PT011
        pass


def test_what_a_link_leads_to_is_neither_locked_nor_written(tmp_path):
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError, match="its lock is a link"), files.locked(tmp_path / "link", lambda: None):
        pass
    with pytest.raises(RunError, match="link is a link to .*theirs: "):
        files.whose_or_raise(tmp_path / "link")
    files.whose_or_raise(tmp_path / "theirs")
    assert (tmp_path / "theirs").read_text() == "theirs"


def test_a_temporary_folder_of_a_killed_process_goes_and_one_in_use_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path))
    code = (
        "import os, signal, sys, tempfile\n"
        "from flyweight import files\n"
        "tempfile.tempdir = sys.argv[1]\n"
        "with files.scratch() as folder:\n"
        "    (folder / 'half').touch()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert len(names(tmp_path)) == 1
    with files.scratch() as first:
        assert names(tmp_path) == [first.name]
        with files.scratch() as second:
            assert names(tmp_path) == sorted([first.name, second.name])
            assert first.stat().st_mode & 0o077 == 0
    assert names(tmp_path) == []
