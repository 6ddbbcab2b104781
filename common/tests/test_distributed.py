import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vidseg_common.distributed import (
    all_reduce_mean,
    barrier,
    cleanup,
    first_host,
    is_main,
    rank,
    read_launch,
    select_device,
    setup,
    world_size,
)
from vidseg_common.errors import UserError

LAUNCHER_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS")


@pytest.fixture
def no_launcher(monkeypatch):
    for name in LAUNCHER_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_single_process_without_launcher(no_launcher):
    info = setup("cpu")
    assert (info.rank, info.local_rank, info.world_size, info.backend) == (0, 0, 1, "")
    assert info.device == torch.device("cpu")
    assert info.is_main
    assert is_main()
    assert (rank(), world_size()) == (0, 1)
    assert all_reduce_mean({"loss": 3}) == {"loss": 3.0}
    barrier()
    cleanup()


def test_torchrun_variables():
    launch = read_launch(
        {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "MASTER_ADDR": "h", "MASTER_PORT": "77"}
    )
    assert (launch.rank, launch.local_rank, launch.world_size) == (5, 1, 8)
    assert (launch.address, launch.port) == ("h", 77)


def test_slurm_variables(monkeypatch):
    monkeypatch.setenv("PATH", "")
    variables = {
        "SLURM_PROCID": "3",
        "SLURM_LOCALID": "1",
        "SLURM_NTASKS": "4",
        "SLURM_JOB_NODELIST": "gpu[07-09,12]",
        "SLURM_JOB_ID": "123456",
    }
    launch = read_launch(variables)
    assert (launch.rank, launch.local_rank, launch.world_size) == (3, 1, 4)
    assert launch.address == "gpu07"
    assert launch.port == 29500 + 3456
    assert read_launch(variables | {"MASTER_ADDR": "a", "MASTER_PORT": "5"}).port == 5
    assert read_launch(variables | {"SLURM_PTY_PORT": "1"}) is None
    assert read_launch(variables | {"SLURM_NTASKS": "1"}) is None
    assert read_launch({}) is None


def test_slurm_asks_scontrol(monkeypatch, tmp_path):
    script = tmp_path / "scontrol"
    script.write_text(f"#!{sys.executable}\nprint('first\\nsecond')\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    variables = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "2"}
    assert read_launch(variables | {"SLURM_JOB_NODELIST": "x[1-2]"}).address == "first"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK must be a whole number, got 'x'"),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, "SLURM_LOCALID"),
        (
            {"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_LOCALID": "0"},
            "set MASTER_ADDR",
        ),
    ],
)
def test_incomplete_variables(variables, expected):
    with pytest.raises(UserError, match=expected):
        read_launch(variables)


@pytest.mark.parametrize(
    ("nodelist", "host"),
    [
        ("node1", "node1"),
        ("node1,node2", "node1"),
        ("gpu[03-05,9],login1", "gpu03"),
        ("gpu[12]", "gpu12"),
        ("a-b[001,4]-ib", "a-b001-ib"),
        ("n1,gpu[2-3]", "n1"),
    ],
)
def test_first_host(nodelist, host):
    assert first_host(nodelist) == host


@pytest.mark.parametrize("nodelist", ["", "gpu[1-2", ","])
def test_unreadable_node_list(nodelist):
    with pytest.raises(UserError, match="MASTER_ADDR"):
        first_host(nodelist)


def test_devices_that_do_not_exist():
    assert select_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="unknown device 'gpu'"):
        select_device("gpu")
    with pytest.raises(UserError, match="not supported"):
        select_device("meta")
    with pytest.raises(UserError, match=r"cuda:99|no CUDA device"):
        select_device("cuda:99")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_device():
    assert select_device("cuda") == select_device("auto") == torch.device("cuda", 0)


def launch_pair(script: Path, style: str, limit_s: float = 120):
    """Starts two processes as torchrun or srun would; returns [(exit status, output)]."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    clean = {key: value for key, value in os.environ.items() if key not in LAUNCHER_VARIABLES}
    clean |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    started = []
    for index in range(2):
        numbers = (str(index), str(index), "2")
        names = {
            "torchrun": ("RANK", "LOCAL_RANK", "WORLD_SIZE"),
            "slurm": ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS"),
        }[style]
        started.append(
            subprocess.Popen(
                [sys.executable, str(script)],
                env=clean | dict(zip(names, numbers, strict=True)),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    outputs = [process.communicate(timeout=limit_s)[0] for process in started]
    return [(process.returncode, output) for process, output in zip(started, outputs, strict=True)]


MEAN = """
import sys
from vidseg_common import distributed
info = distributed.setup("cpu")
names = ["b", "a"] if info.rank else ["a", "b"]
mean = distributed.all_reduce_mean({name: {"a": 1.0, "b": 0.1}[name] + info.rank for name in names})
assert list(mean) == names and abs(mean["a"] - 1.5) + abs(mean["b"] - 0.6) < 1e-12, mean
try:
    distributed.all_reduce_mean({"a": 1.0, "c": 2.0} if info.rank else {"a": 1.0, "b": 2.0})
except ValueError as error:
    sys.stdout.write(f"refused {error}\\n")
distributed.barrier()
assert distributed.is_main() == (info.rank == 0) == info.is_main
# One write: the processes of torchrun share their output.
sys.stdout.write(f"{info.rank} {info.world_size} {info.backend}\\n")
distributed.cleanup()
"""


@pytest.mark.parametrize("style", ["torchrun", "slurm"])
def test_two_processes_average(tmp_path, style):
    script = tmp_path / "mean.py"
    script.write_text(MEAN)
    for index, (status, output) in enumerate(launch_pair(script, style)):
        assert status == 0, output
        assert "refused ranks average different names" in output
        assert f"{index} 2 gloo" in output


RAISING = """
import sys
from vidseg_common import distributed
info = distributed.setup("cpu", timeout_minutes=1)
if info.rank == 1:
    raise SystemExit("rank 1 fails")
distributed.all_reduce_mean({"a": 1.0})
"""


def test_one_failing_rank_ends_the_other(tmp_path):
    script = tmp_path / "raising.py"
    script.write_text(RAISING)
    done = launch_pair(script, "torchrun")
    assert [status != 0 for status, _ in done] == [True, True], done


def test_torchrun_itself(tmp_path):
    script = tmp_path / "mean.py"
    script.write_text(MEAN)
    environment = {k: v for k, v in os.environ.items() if k not in LAUNCHER_VARIABLES}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*command, str(script)],
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "0 2 gloo" in done.stdout
    assert "1 2 gloo" in done.stdout
