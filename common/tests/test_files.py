import json
import os
import subprocess
import sys

import pytest

from vidseg_common.errors import OutputBusyError, UserError
from vidseg_common.files import (
    LOCK_NAME,
    OutputLock,
    atomic_path,
    check_writable,
    write_bytes,
    write_json,
    write_text,
)


def test_atomic_path_keeps_suffix_and_renames(tmp_path):
    target = tmp_path / "new" / "mask.png"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".png"
        temporary.write_bytes(b"1")
        assert not target.exists()
    assert target.read_bytes() == b"1"
    assert [p.name for p in target.parent.iterdir()] == ["mask.png"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_atomic_path_leaves_old_file_on_error(tmp_path, error):
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_disk_full_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_bytes(tmp_path / "a.bin", b"x")
    assert list(tmp_path.iterdir()) == []


def test_write_json_and_bytes(tmp_path):
    write_json(tmp_path / "x" / "a.json", {"ü": [1, 2.5]})
    assert json.loads((tmp_path / "x" / "a.json").read_text("utf-8")) == {"ü": [1, 2.5]}
    write_bytes(tmp_path / "a.bin", b"\0\n")
    assert (tmp_path / "a.bin").read_bytes() == b"\0\n"


def test_json_that_cannot_be_written_changes_nothing(tmp_path):
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", object())
    assert json.loads((tmp_path / "a.json").read_text()) == 1


def test_check_writable(tmp_path):
    folder = tmp_path / "a" / "b"
    assert check_writable(str(folder)) == folder
    assert list(folder.iterdir()) == []
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UserError, match="cannot write into the output folder"):
        check_writable(blocked / "out")


def test_second_run_is_refused_and_first_goes_on(tmp_path):
    with OutputLock(tmp_path / "out"):
        with pytest.raises(OutputBusyError, match=f"process {os.getpid()} on"):
            OutputLock(tmp_path / "out").__enter__()
        with OutputLock(tmp_path / "other"):
            pass
    with OutputLock(tmp_path / "out"):
        pass
    assert list((tmp_path / "out").iterdir()) == []


def test_lock_is_released_on_error(tmp_path):
    with pytest.raises(ZeroDivisionError), OutputLock(tmp_path):
        _ = 1 // 0
    with OutputLock(tmp_path):
        pass


def test_file_of_a_dead_run_is_taken_over(tmp_path):
    (tmp_path / LOCK_NAME).write_text(json.dumps({"pid": 1, "host": "elsewhere"}))
    with OutputLock(tmp_path):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == os.getpid()


def test_lock_holds_between_processes_and_ends_with_them(tmp_path):
    code = (
        "import sys; from vidseg_common.files import OutputLock\n"
        f"lock = OutputLock({str(tmp_path)!r}); lock.__enter__()\n"
        "print('locked', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "locked\n"
    with pytest.raises(OutputBusyError, match=f"process {other.pid} "):
        OutputLock(tmp_path).__enter__()
    other.kill()
    other.communicate()
    assert (tmp_path / LOCK_NAME).exists()
    with OutputLock(tmp_path):
        pass
