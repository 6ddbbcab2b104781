"""Benchmarks in sections: each is a process of its own and adds its rows to one recorded file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from vidseg_common.allocator import keep_freed_memory
from vidseg_common.config import ArgumentParser
from vidseg_common.files import write_json

Row = dict[str, Any]
Section = Callable[[argparse.Namespace], list[Row]]


def add_section_flags(parser: ArgumentParser, sections: Mapping[str, Section], out: Path) -> None:
    """Flags that every such benchmark has."""
    add = parser.add_argument
    add("--repeat", type=int, default=3, help="rounds of which the fastest counts")
    add("--threads", type=int, default=2, help="threads of PyTorch")
    add("--only", nargs="+", choices=list(sections), help="sections to run; the rest is kept")
    add("--out", type=Path, default=out, help="recorded results")


def run_sections(
    script: str, argv: list[str], args: argparse.Namespace, sections: Mapping[str, Section]
) -> int:
    """Runs and records what was asked for.

    Args:
        script: the benchmark's file.
        argv: its arguments.
        args: the same, read.
        sections: by name.
    """
    names = args.only or list(sections)
    if len(names) > 1:
        # What one section leaves behind must not hide what the next one needs.
        for name in names:
            subprocess.run([sys.executable, script, *argv, "--only", name], check=True)
        return 0
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    known = args.out.is_file()
    result: Row = json.loads(args.out.read_text(encoding="utf-8")) if known else {}
    result["machine"] = f"{platform.processor() or platform.machine()}, {args.threads} threads"
    result["torch"] = torch.__version__
    for name in names:
        print(name)
        before = os.getloadavg()[0]
        result[name] = sections[name](args)
        for row in result[name]:
            show_row(row)
        result.setdefault("load_average", {})[name] = [before, os.getloadavg()[0]]
        result.setdefault("peak_rss_mb", {})[name] = peak_mb()
        write_json(args.out, result)
    print(f"written to {args.out}")
    return 0


def peak_mb() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident_mb() -> float:
    """Resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def show_row(row: Row) -> None:
    """Prints a row."""
    cells = (f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
    print("  " + "  ".join(cells), flush=True)
