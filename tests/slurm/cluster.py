"""A SLURM of one node with two CPUs and two pretended GPUs, on this machine, for as long as needed.

It has its own configuration, keys, ports and folder, so that it leaves alone whatever SLURM the
machine may run already. Its daemons are children of this process and end with it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO

DAEMONS = ("munged", "slurmctld", "slurmd")
PROGRAMS = (*DAEMONS, "sbatch", "srun", "scontrol", "scancel", "squeue", "sinfo")
PACKAGES = ("munge", "slurmctld", "slurmd", "slurm-client")
CONFIGURATION = """
ClusterName=check
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={controller}
SlurmdPort={daemon}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=bf_interval=1,batch_sched_delay=1,sched_interval=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
KillWait=5
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 Gres=gpu:2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class ImpossibleError(Exception):
    """No SLURM can be started on this machine; the message says why."""


def install() -> None:
    """Installs Debian's packages of SLURM where its programs are missing; starts no service.

    Raises:
        ImpossibleError: this user or this machine cannot.
    """
    if os.geteuid() != 0:
        raise ImpossibleError("the daemons of SLURM have to be started by root")
    path = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = f"{path}:/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise ImpossibleError(f"no {', '.join(missing)} here, and no apt-get to install them")
    print(f"installing {', '.join(PACKAGES)}", flush=True)
    # In run level 1, which is no more than a variable here, packages start no services.
    settings = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for words in (
        ["update", "-qq"],
        ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES],
    ):
        done = subprocess.run(
            ["apt-get", *words], env=settings, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ImpossibleError(f"apt-get {words[0]} failed: {done.stderr.strip()[-500:]}")


class Cluster:
    """Context manager of the SLURM.

    Args:
        folder: an empty one, for configuration, state and logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._logs: list[IO[bytes]] = []
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SLURM_", "SBATCH_", "SRUN_", "MASTER_"))
        } | {"SLURM_CONF": str(folder / "slurm.conf")}

    def __enter__(self) -> Cluster:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def ask(self, *words: object) -> str:
        """Runs a command of SLURM and returns what it prints.

        Raises:
            RuntimeError: it failed.
        """
        command = [str(word) for word in words]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def submit(self, script: Path, *flags: str, **settings: object) -> str:
        """Submits a script with environment variables and returns the job's number."""
        own = {name: str(value) for name, value in settings.items()}
        command = ["sbatch", "--parsable", *flags, str(script)]
        done = subprocess.run(
            command, env=self.environment | own, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def job(self, number: str) -> dict[str, str]:
        """What SLURM knows of a job, such as JobState, Restarts and ExitCode."""
        words = self.ask("scontrol", "show", "job", "-o", number).splitlines()[0].split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, number: str, seconds: float) -> dict[str, str]:
        """Waits for the end of a job.

        Raises:
            RuntimeError: it did not end well, or not in time; with the end of its output.
        """
        busy = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED", "SUSPENDED")
        job = until(lambda: None if (j := self.job(number))["JobState"] in busy else j, seconds)
        if job is None or job["JobState"] != "COMPLETED":
            found = job or self.job(number)
            output = Path(found.get("StdOut", ""))
            text = output.read_text(errors="replace")[-3000:] if output.is_file() else ""
            raise RuntimeError(f"job {number} is {found['JobState']}:\n{text}")
        return job

    def clear(self) -> None:
        """Ends all jobs."""
        for job in set(self.ask("squeue", "-h", "-o", "%A").split()):
            self.ask("scancel", job)
        until(lambda: not self.ask("squeue", "-h"), 30)

    def _start(self) -> None:
        self.folder.chmod(0o755)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        ports = free_ports(2)
        host = socket.gethostname().split(".")[0]
        text = CONFIGURATION.format(
            host=host, folder=self.folder, controller=ports[0], daemon=ports[1]
        )
        (self.folder / "slurm.conf").write_text(text)
        devices = [self.folder / f"gpu{index}" for index in range(2)]
        for device in devices:
            device.touch()
        lines = "".join(f"Name=gpu File={device}\n" for device in devices)
        (self.folder / "gres.conf").write_text(f"AutoDetect=off\n{lines}")
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed"}
        words = [f"--{flag}={self.folder}/munge.{end}" for flag, end in files.items()]
        self._launch("munged", "--foreground", *words)
        if until(lambda: (self.folder / "munge.socket").exists(), 10) is None:
            raise RuntimeError(f"munged does not start:\n{self._log('munged')}")
        self._launch("slurmctld", "-D")
        self._launch("slurmd", "-D")
        if until(self._is_idle, 30) is None:
            raise RuntimeError(f"no node came up:\n{self._log('slurmctld')}{self._log('slurmd')}")

    def _is_idle(self) -> bool:
        with contextlib.suppress(RuntimeError):
            return self.ask("sinfo", "-h", "-o", "%t") == "idle"
        return False

    def _launch(self, name: str, *words: str) -> None:
        log = (self.folder / f"{name}.log").open("wb")
        self._logs.append(log)
        # In a session of its own: a Ctrl-C is for this process, which ends all in good order.
        process = subprocess.Popen(
            [name, *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._processes.append(process)

    def _log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]

    def _stop(self) -> None:
        """Ends jobs, then daemons, the last one first."""
        if len(self._processes) == len(DAEMONS):
            with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
                self.clear()
        while self._processes:
            process = self._processes.pop()
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        while self._logs:
            self._logs.pop().close()


def until(condition: Callable[[], object], seconds: float) -> object:
    """What `condition` gives as soon as that is true; None after the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    return None


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens at."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
