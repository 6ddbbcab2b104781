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
import shutil
import sys
import tempfile
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
    flags = ["-O3", "-std=c++20", "-fopenmp", "-fno-math-errno", "-fno-trapping-math"]
    return flags + _INSTRUCTIONS.get(capability, [])


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
    from torch.utils import cpp_extension  # imports setuptools, which only a build needs

    path.parent.mkdir(parents=True, exist_ok=True)
    _LOG.info("building %s (once, takes about half a minute)", path)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        cpp_extension.load(
            name=path.stem,
            sources=[str(source) for source in SOURCES],
            extra_cflags=compiler_flags(),
            extra_ldflags=["-fopenmp"],
            build_directory=folder,
            is_python_module=False,
        )
        shutil.move(Path(folder) / path.name, path)
    return path


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
