import errno

import pytest

from vidseg_common import errors
from vidseg_common.datasets.annotations import Problem
from vidseg_common.errors import MaskError, OutputBusyError, UserError, list_problems, run_cli


def status_of(main):
    with pytest.raises(SystemExit) as caught:
        run_cli(main)
    return caught.value.code


def raising(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(("result", "status"), [(None, 0), (0, 0), (3, 3)])
def test_result_is_exit_status(result, status):
    assert status_of(lambda: result) == status


def test_user_error_is_one_message_and_status_2(capsys):
    assert status_of(raising(MaskError("mask.png is empty"))) == 2
    assert capsys.readouterr().err == "error: mask.png is empty\n"


def test_full_disk_says_what_to_do(capsys):
    error = OSError(errno.ENOSPC, "No space left on device", "out/00000.png")
    assert status_of(raising(error)) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: No space left on device: out/00000.png")
    assert "free some space" in message
    assert message.count("\n") == 1


def test_interrupt_is_130():
    assert status_of(raising(KeyboardInterrupt())) == 130


def test_our_own_faults_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        run_cli(lambda: 1 // 0)


def test_busy_error_is_user_and_runtime_error():
    error = OutputBusyError("busy")
    assert isinstance(error, UserError)
    assert isinstance(error, RuntimeError)


def test_every_error_is_a_user_error():
    for name in ("Mask", "Video", "Checkpoint", "Dataset", "Config", "Download"):
        assert issubclass(getattr(errors, f"{name}Error"), UserError)


def test_list_problems():
    assert list_problems("two:", ["a", "b"]) == "two:\n  - a\n  - b"


def test_os_error_without_a_file_name():
    assert errors.describe_os_error(OSError("odd")) == "odd"


def test_a_problem_names_its_file_once(tmp_path):
    path = tmp_path / "a.png"
    texts = (f"cannot read the mask {path}: cut off", f"{path} is a picture", f"gone: {path}", "x")
    told = [str(Problem.of_file(path, ValueError(text))) for text in texts]
    ends = ("cannot read the mask: cut off", "is a picture", "gone", "x")
    assert told == [f"{path}: {end}" for end in ends]
