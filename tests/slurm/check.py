"""Proves the cluster scripts on a real SLURM, which is installed and started for it.

Every job is a script of this repository, submitted as a user would; what it leaves is compared with
a run in one process, or without a stop. Exit status: 0 when all is well, 1 when something differs,
2 where no SLURM can be started (0 with --may-skip).
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from cluster import Cluster, ImpossibleError, install
from shards import check_shards
from trainings import check_requeue, check_two_tasks

CHECKS: dict[str, Callable[[Cluster, Path], str]] = {
    "training, two tasks": check_two_tasks,
    "training, stopped and queued again": check_requeue,
    "evaluation, four shards and merge": check_shards,
}
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    parser = argparse.ArgumentParser(description="Proves the cluster scripts on a real SLURM.")
    parser.add_argument(
        "--may-skip", action="store_true", help="no error where no SLURM can be started"
    )
    args = parser.parse_args()
    for number in ENDING:
        signal.signal(number, leave)
    started, failed = time.perf_counter(), 0
    with tempfile.TemporaryDirectory(prefix="slurm-check-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # munged insists on it
        (folder / "slurm").mkdir()
        try:
            install()
        except ImpossibleError as error:
            print(f"slurm-check cannot run: {error}", flush=True)
            return 0 if args.may_skip else 2
        with Cluster(folder / "slurm") as cluster:
            report("SLURM", started, cluster.ask("sinfo", "--version"))
            for title, check in CHECKS.items():
                begun = time.perf_counter()
                try:
                    report(title, begun, check(cluster, folder))
                except (AssertionError, RuntimeError) as error:
                    failed += 1
                    cluster.clear()
                    report(title, begun, f"FAILED: {error}")
    report("in all", started, f"{len(CHECKS) - failed} passed, {failed} failed")
    return int(failed > 0)


def leave(number: int, _frame: FrameType | None) -> None:
    """Ends the check; all that was started is stopped, whatever further signals come meanwhile."""
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def report(title: str, begun: float, text: str) -> None:
    print(f"{title:36}{time.perf_counter() - begun:6.1f} s  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
