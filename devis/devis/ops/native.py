"""The kernels of this package: those in C++ are built once and kept in a user's cache.

`kernels` gives those for a kind of device, or None where they cannot be had; it says so once. The
environment variable DEVIS_NATIVE_OPS=0 keeps them off.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

_LOG = logging.getLogger("devis.ops")
_FOLDER = Path(__file__).parent
SOURCES = [_FOLDER / name for name in ("ms_deform_attn.cpp", "inference.cpp")]
_HEADERS = [_FOLDER / "lanes.h"]
#: Switches off what is built; anything but "0" leaves it on.
SWITCH = "DEVIS_NATIVE_OPS"
#: Instruction sets by what torch itself found usable; other processors get the compiler's default.
_INSTRUCTIONS = {
    "AVX512": [
        *("-mavx2", "-mfma", "-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw"),
        "-mprefer-vector-width=512",
    ],
    "AVX2": ["-mavx2", "-mfma"],
}


def compiler_flags() -> list[str]:
    """Flags that decide the code; they are part of the name of what is built."""
    capability = torch.backends.cpu.get_cpu_capability()
    flags = ["-O3", "-std=c++20", "-fPIC", "-fopenmp", "-fno-math-errno", "-fno-trapping-math"]
    flags.append(f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}")
    return flags + _INSTRUCTIONS.get(capability, [])


def compiler() -> list[str]:
    """The command of the C++ compiler: that of the environment variable CXX, else a usual one.

    Raises:
        RuntimeError: there is none.
    """
    if command := shlex.split(os.environ.get("CXX", "")):
        return command
    for name in ("c++", "g++", "clang++"):
        if found := shutil.which(name):
            return [found]
    raise RuntimeError("no C++ compiler: none of c++, g++ and clang++ is installed")


def library_path() -> Path:
    """Where the built library lies: named by its source, flags, torch, Python and machine."""
    parts = [source.read_text(encoding="utf-8") for source in (*SOURCES, *_HEADERS)]
    parts += [*compiler_flags(), torch.__version__, sys.version, platform.machine()]
    name = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "devis" / f"devis_ops_{name}.so"


def build() -> Path:
    """Compiles the library unless it is there, and gives its path.

    It is compiled in a folder of its own and then renamed, so that a build that was broken off
    leaves nothing that a later one waits for.

    Raises:
        RuntimeError: there is no compiler, or it failed.
        OSError: the cache cannot be written.
    """
    path = library_path()
    if path.exists():
        return path
    command, torch_folder = compiler(), Path(torch.__file__).parent
    path.parent.mkdir(parents=True, exist_ok=True)
    _LOG.info("building %s (once, takes about half a minute)", path)
    includes = [torch_folder / "include", torch_folder / "include/torch/csrc/api/include"]
    flags = [*compiler_flags(), *(f"-isystem{folder}" for folder in includes)]
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        objects = [Path(folder) / f"{source.stem}.o" for source in SOURCES]
        with ThreadPoolExecutor(len(SOURCES)) as pool:
            steps = [
                [*command, *flags, "-c", str(source), "-o", str(made)]
                for source, made in zip(SOURCES, objects, strict=True)
            ]
            for done in [pool.submit(_run, step) for step in steps]:
                done.result()
        made = Path(folder) / path.name
        libraries = [f"-L{torch_folder / 'lib'}", "-lc10", "-ltorch_cpu", "-ltorch"]
        _run([*command, "-shared", "-fopenmp", *map(str, objects), *libraries, "-o", str(made)])
        made.replace(path)
    return path


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stderr}")


@functools.cache
def load() -> Any | None:
    """The namespace of the compiled operators, or None; says once when None."""
    if os.environ.get(SWITCH, "1") == "0":
        return None
    try:
        path = build()
        torch.ops.load_library(str(path))
    except (RuntimeError, OSError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        _LOG.warning(
            "deformable attention runs in plain PyTorch, several times slower, because its C++"
            " kernel could not be built (%s); `python -m devis.ops` shows the whole message",
            reason,
        )
        return None
    return torch.ops.devis_native


@functools.cache
def load_gpu() -> Any | None:
    """The module with the Triton kernels, or None; says once when None."""
    if os.environ.get(SWITCH, "1") == "0":
        return None
    try:
        from devis.ops import gpu
    except ImportError as error:
        _LOG.warning(
            "deformable attention runs in plain PyTorch, several times slower, because Triton is"
            " missing (%s)",
            error,
        )
        return None
    return gpu


def kernels(device_type: str) -> Any | None:
    """What has `forward` and `backward` for a kind of device ("cpu", "cuda"), or None."""
    if device_type == "cpu":
        return load()
    return load_gpu() if device_type == "cuda" else None
