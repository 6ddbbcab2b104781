"""Doctor's part for the machine: packages, devices, memory and disk, native operators."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from vidseg_common.doctor_report import Section

DISTRIBUTIONS = ("vidseg-common", "stemseg", "stcn", "stmask", "vatrack", "devis")
# torchvision 0.(N + 15) is built against torch 2.N.
TORCHVISION_OFFSET = 15
MIN_PYTHON = (3, 10)
MIN_MEMORY_GIB = 2.0
MIN_DISK_GIB = 2.0
# Another build of the same module, good enough where it is installed instead.
ALTERNATIVES = {"opencv-python-headless": ("opencv-python", "opencv-contrib-python-headless")}


def examine_packages() -> Section:
    """Checks Python and every package that the installed distributions of this project need."""
    section = Section("packages", {"python": f"{platform.python_version()} ({sys.executable})"})
    if sys.version_info < MIN_PYTHON:
        section.problems.append("Python is older than 3.10: make setup PYTHON=python3.11")
    versions: dict[str, str | None] = {}
    for name, minimum in sorted(required_packages().items()):
        versions[name] = installed = _installed_version(name)
        section.facts[name] = installed or "missing"
        if installed is None:
            section.problems.append(f"{name} is not installed: run make setup")
        elif version_tuple(installed) < version_tuple(minimum):
            section.problems.append(f"{name} {installed} is older than {minimum}: run make setup")
    pair = check_torch_pair(versions.get("torch"), versions.get("torchvision"))
    section.problems.extend([pair] if pair else [])
    return section


def required_packages() -> dict[str, str]:
    """Name -> lowest version of what the installed distributions of this project declare."""
    needed = {"torch": "0", "torchvision": "0"}
    for distribution in DISTRIBUTIONS:
        try:
            declared = importlib.metadata.requires(distribution) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in declared:
            match = re.match(r"([A-Za-z0-9_.-]+)\s*(?:>=\s*([\w.]+))?", requirement)
            if match and match[1] not in DISTRIBUTIONS and "extra ==" not in requirement:
                lowest = max(match[2] or "0", needed.get(match[1], "0"), key=version_tuple)
                needed[match[1]] = lowest
    return needed


def version_tuple(version: str) -> tuple[int, ...]:
    """Numbers of a version for comparing: "2.14.1+cpu" -> (2, 14, 1)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])


def check_torch_pair(torch_version: str | None, vision_version: str | None) -> str | None:
    """Says what is wrong when torch and torchvision were not built for each other.

    Args:
        torch_version: for example "2.14.1+cpu"; None when missing.
        vision_version: for example "0.29.1+cpu"; None when missing.

    Returns:
        The problem, or None.
    """
    if torch_version is None or vision_version is None:
        return None  # already reported as missing
    torch_minor = version_tuple(torch_version)[1]
    builds = {text.partition("+")[2] for text in (torch_version, vision_version) if "+" in text}
    fits = version_tuple(vision_version)[1] == torch_minor + TORCHVISION_OFFSET
    if fits and len(builds) < 2:
        return None
    return (
        f"torch {torch_version} and torchvision {vision_version} are not a matching pair: install "
        f"torchvision 0.{torch_minor + TORCHVISION_OFFSET} from the index torch came from "
        "(make setup TORCH_INDEX=...)"
    )


def examine_devices() -> Section:
    """Describes the CPU and the accelerators that torch sees."""
    features = _cpu_flags()
    bf16 = "native" if {"avx512_bf16", "amx_bf16", "bf16"} & features else "emulated (slower)"
    section = Section(
        "devices",
        {
            "cpu": f"{_cpu_name()}, {os.cpu_count()} threads, torch uses {torch.get_num_threads()}",
            "cpu kernels": f"{torch.backends.cpu.get_cpu_capability()}, bfloat16 {bf16}",
            "cuda": "none",
            "mps": "available" if torch.backends.mps.is_available() else "none",
        },
    )
    if torch.cuda.is_available():
        section.facts["cuda"] = f"{torch.cuda.device_count()} device(s), CUDA {torch.version.cuda}"
        for index in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(index)
            section.facts[f"cuda:{index}"] = (
                f"{device.name}, {device.total_memory / 2**30:.0f} GiB, "
                f"compute capability {device.major}.{device.minor}"
            )
    elif shutil.which("nvidia-smi"):
        remedy = (
            "this torch build has no CUDA: make setup TORCH_INDEX=... with a CUDA index"
            if torch.version.cuda is None
            else f"update the driver to one for CUDA {torch.version.cuda}, or use --device cpu"
        )
        section.problems.append(f"a GPU driver is installed, but torch sees no device; {remedy}")
    return section


def examine_storage() -> Section:
    """Checks free memory and the free disk space of the current folder."""
    section = Section("memory and disk")
    memory = read_meminfo()
    if memory:
        total, free = memory.get("MemTotal", 0.0), memory.get("MemAvailable", 0.0)
        section.facts["memory"] = f"{free:.1f} GiB free of {total:.1f} GiB"
        if free < MIN_MEMORY_GIB:
            section.problems.append(
                f"only {free:.1f} GiB of memory is free: end other programs or use a smaller --size"
            )
    disk = shutil.disk_usage(Path.cwd())
    section.facts["disk"] = f"{disk.free / 2**30:.1f} GiB free of {disk.total / 2**30:.1f} GiB here"
    if disk.free < MIN_DISK_GIB * 2**30:
        section.problems.append(
            f"only {disk.free / 2**30:.1f} GiB of disk is free here: write results to another disk"
        )
    return section


def read_meminfo(path: Path = Path("/proc/meminfo")) -> Mapping[str, float]:
    """Reads Linux' memory table, name -> GiB; empty on other systems."""
    if not path.exists():
        return {}
    rows = re.findall(r"^(\w+):\s+(\d+) kB", path.read_text(), re.MULTILINE)
    return {name: int(size) / 2**20 for name, size in rows}


def examine_operators() -> Section:
    """Checks whether the compiled operators of torchvision can be called."""
    section = Section("native operators")
    problem = _try_torchvision_operator()
    section.facts["torchvision"] = "active" if problem is None else "not active"
    section.facts["compiled by this project"] = "none needed"
    if problem:
        section.problems.append(
            f"torchvision's native operators do not work ({problem}): install the torchvision "
            "that matches this torch (make setup)"
        )
    return section


def _try_torchvision_operator() -> str | None:
    try:
        from torchvision.ops import nms
    except (ImportError, RuntimeError, OSError) as error:
        return str(error).split("\n", 1)[0]
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 2.0]])
    try:
        kept = nms(boxes, torch.tensor([0.5, 0.9]), 0.5).tolist()
    except (RuntimeError, NotImplementedError) as error:
        return str(error).split("\n", 1)[0]
    return None if kept == [1] else f"nms kept {kept} instead of [1]"


def _installed_version(name: str) -> str | None:
    for candidate in (name, *ALTERNATIVES.get(name, ())):
        try:
            return importlib.metadata.version(candidate)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _cpu_info() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text(errors="replace") if path.exists() else ""


def _cpu_name() -> str:
    match = re.search(r"^model name\s*:\s*(.+)$", _cpu_info(), re.MULTILINE)
    return match[1] if match else platform.processor() or platform.machine()


def _cpu_flags() -> set[str]:
    match = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", _cpu_info(), re.MULTILINE)
    return set(match[1].split()) if match else set()
