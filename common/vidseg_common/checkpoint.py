"""Checkpoint files: safe loading, clear refusals, atomic saving.

A file is never unpickled freely: `torch.load` runs with `weights_only=True`, and what a refused
file asked for is found by reading its pickle opcodes, which runs nothing.
"""

from __future__ import annotations

import contextlib
import pickle
import pickletools
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import safetensors
import safetensors.torch
import torch

from vidseg_common.checkpoint_strict import (
    compare_state,
    load_strict,
    shapes_of,
    strip_prefix,
)
from vidseg_common.errors import CheckpointError
from vidseg_common.files import atomic_path

__all__ = [
    "compare_state",
    "load_checkpoint",
    "load_strict",
    "read_safetensors_metadata",
    "requested_globals",
    "save_atomic",
    "save_safetensors",
    "shapes_of",
    "strip_prefix",
]

SAFETENSORS_SUFFIX = ".safetensors"
ZIP_MAGIC = b"PK\x03\x04"
NUM_LEGACY_PICKLES = 5
# What torch itself needs to rebuild tensors and plain containers; these are always allowed.
HARMLESS_GLOBAL = re.compile(
    r"collections\.(OrderedDict|Counter)|_codecs\.encode|torch\.Size|torch\.device"
    r"|torch\._utils\._rebuild_\w+|torch\.nn\.parameter\.Parameter|torch\.(cuda\.)?\w+(Storage|Tensor)"
    r"|torch\.storage\.\w+Storage|torch\.serialization\._get_layout"
    r"|torch\.(b?float|u?int|complex|bool|q)\w*|(builtins|__builtin__)\.(set|complex|bytearray)"
)


def load_checkpoint(path: str | Path, map_location: str | torch.device | None = "cpu") -> Any:
    """Loads a `torch.save` file (zip or legacy form) or a safetensors file, never running code.

    Args:
        path: the file; the suffix ".safetensors" selects that format.
        map_location: device the tensors go to.

    Returns:
        The object in the file: tensors, numbers, strings and plain containers of them.

    Raises:
        CheckpointError: missing, empty, truncated or foreign file, or one that asks for code; the
            message names the file and, for code, lists everything it asked for.
    """
    path = Path(path)
    _check_readable(path)
    if path.suffix == SAFETENSORS_SUFFIX:
        return _load_safetensors(path, str(map_location or "cpu"))
    foreign = _describe_foreign(path)
    if foreign:
        raise CheckpointError(f"{path}: {foreign}")
    try:
        with warnings.catch_warnings():
            # Old files hold storage classes that torch itself has since deprecated.
            warnings.filterwarnings("ignore", message="TypedStorage is deprecated")
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path}: {_explain_failure(path, error)}") from error


def requested_globals(path: str | Path) -> list[str]:
    """Names every class or function, beyond torch's own, that loading the file would ask for.

    The pickle is read opcode by opcode; nothing in it runs.

    Args:
        path: a file written by `torch.save` (zip or legacy form) or a plain pickle.

    Returns:
        Sorted "module.name" strings, empty for a file of plain tensors.

    Raises:
        OSError: the file cannot be read.
    """
    return _inspect_pickles(Path(path))[0]


def save_atomic(obj: Any, path: str | Path) -> None:
    """Writes `torch.save(obj)` under a temporary name and renames it when it is complete.

    Args:
        obj: what to save; use tensors, numbers, strings and plain containers, or the file will
            not load again with `weights_only=True`.
        path: final name; parent folders are created. An existing file survives a failing save.

    Raises:
        CheckpointError: the file cannot be written (disk full, permission).
    """
    with _report_write_errors(Path(path)), atomic_path(path) as temporary:
        torch.save(obj, temporary)


def save_safetensors(
    state: Mapping[str, torch.Tensor],
    path: str | Path,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes tensors as a safetensors file, atomically.

    Args:
        state: name -> tensor on any device; tensors that share memory are written apart.
        path: final name; parent folders are created.
        metadata: strings stored in the header, read back by `read_safetensors_metadata`.

    Raises:
        CheckpointError: the file cannot be written (disk full, permission).
    """
    tensors = {
        name: value.detach().to("cpu", copy=True).contiguous() for name, value in state.items()
    }
    with _report_write_errors(Path(path)), atomic_path(path) as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors, dict(metadata or {})))


def read_safetensors_metadata(path: str | Path) -> dict[str, str]:
    """Reads the header strings of a safetensors file without loading its tensors.

    Raises:
        CheckpointError: the file is missing, truncated or of another format.
    """
    path = Path(path)
    _check_readable(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path}: {_explain_safetensors(path, error)}") from error


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise CheckpointError(f"{path}: is a folder, not a checkpoint file") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    if empty:
        raise CheckpointError(f"{path}: the file is empty; download it again")


def _load_safetensors(path: Path, device: str) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load_file(path, device=device)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path}: {_explain_safetensors(path, error)}") from error


def _explain_safetensors(path: Path, error: Exception) -> str:
    foreign = _describe_foreign(path)
    if foreign:
        return foreign
    with path.open("rb") as file:
        start = file.read(4)
    if start == ZIP_MAGIC:
        return "is a torch.save file, not safetensors; give it the suffix .pth"
    return f"is truncated or not a safetensors file ({error}); download it again"


def _describe_foreign(path: Path) -> str | None:
    """Recognises by its first bytes a file that was never a checkpoint; None when it may be one."""
    with path.open("rb") as file:
        start = file.read(1024)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return (
            "is a web page, not a checkpoint; the server answered with a page instead of the file "
            "(a Drive quota or sign-in page?), so fetch it by hand and pass that file"
        )
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself; run `git lfs pull`"
    kinds = {
        b"\x1f\x8b": "gzip archive",
        b"BZh": "bzip2 archive",
        b"\xfd7zXZ": "xz archive",
        b"\x89PNG": "PNG image",
        b"\xff\xd8\xff": "JPEG image",
        b"\x89HDF": "HDF5 file",
        b"Rar!": "RAR archive",
        b"7z\xbc\xaf": "7-Zip archive",
    }
    for magic, kind in kinds.items():
        if start.startswith(magic):
            return f"is a {kind}, not a checkpoint"
    return _describe_zip(path) if start.startswith(ZIP_MAGIC) else None


def _describe_zip(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        size = path.stat().st_size
        return f"is truncated (it ends after {size} bytes without its index); download it again"
    if any(name.split("/", 1)[-1] == "constants.pkl" for name in names):
        return "is a TorchScript program, not a file of weights"
    if not any(name.split("/", 1)[-1] == "data.pkl" for name in names):
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        return f"is a zip archive of something else ({shown or 'empty'}), not a checkpoint"
    return None


def _explain_failure(path: Path, error: Exception) -> str:
    """Says why torch could not load a file that looked like a checkpoint."""
    asked, whole = _inspect_pickles(path)
    if asked:
        listing = "\n".join(f"  {name}" for name in asked)
        return (
            "refused, because it holds more than tensors and loading it could run code; nothing "
            "of it was run. Use a file of plain tensors (a state dict). "
            f"It asks for:\n{listing}"
        )
    text = str(error).strip()
    if "Unsupported operand" in text and whole:
        return (
            "refused, because it is written with pickle instructions that the safe loader does "
            "not know; nothing of it was run. Use a file saved with torch's default protocol"
        )
    # torch's own advice on a refused file is to load it unsafely, which must not be passed on.
    first = text.split("\n", 1)[0]
    reason = "" if "weights_only" in text or len(first) < 4 else f" ({first[:200]})"
    return f"is damaged, truncated or not a checkpoint{reason}; download it again"


def _inspect_pickles(path: Path) -> tuple[list[str], bool]:
    """Gives the globals a file asks for, and whether its first pickle is whole."""
    found: set[str] = set()
    whole = False
    with path.open("rb") as file, contextlib.ExitStack() as stack:
        if file.read(4) == ZIP_MAGIC:
            # torch's own scanner knows which names the installed torch trusts.
            with contextlib.suppress(ValueError, RuntimeError, EOFError, pickle.UnpicklingError):
                found.update(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
            with contextlib.suppress(zipfile.BadZipFile, KeyError):
                archive = stack.enter_context(zipfile.ZipFile(path))
                data = stack.enter_context(archive.open(_data_record(archive)))
                whole = _scan_pickles(data, found)
        else:
            file.seek(0)
            whole = _scan_pickles(file, found)
    return sorted(name for name in found if not HARMLESS_GLOBAL.fullmatch(name)), whole


def _data_record(archive: zipfile.ZipFile) -> str:
    """Name of the pickle inside a torch zip file, "FOLDER/data.pkl".

    Raises:
        KeyError: the archive has none.
    """
    for name in archive.namelist():
        if name.split("/", 1)[-1] == "data.pkl":
            return name
    raise KeyError("data.pkl")


def _scan_pickles(file: IO[bytes], found: set[str]) -> bool:
    """Adds the globals of consecutive pickles to `found`, reading opcodes only.

    A legacy torch file is several pickles in a row (magic, version, system, object, storage
    keys) and then raw numbers, which are not read.

    Returns:
        Whether the first pickle is whole.
    """
    for index in range(NUM_LEGACY_PICKLES):
        start = file.tell()
        marked = file.read(1) == pickle.PROTO
        file.seek(start)
        names: set[str] = set()
        complete = _collect_globals(file, names)
        # Text can look like an unmarked pickle for a while; one that ends properly is none.
        if marked or complete:
            found.update(name for name in names if re.fullmatch(r"[\w.]+", name))
        if not complete:
            return index > 0
    return True


def _collect_globals(file: IO[bytes], names: set[str]) -> bool:
    """Adds the "module.name" of every global in one pickle; False when it breaks off."""
    strings: list[str] = []  # as pushed on the unpickler's stack
    memo: dict[int, str] = {}
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name in ("GLOBAL", "INST"):
                names.add(str(argument).replace(" ", "."))
            elif opcode.name == "STACK_GLOBAL":
                names.add(".".join(strings[-2:]))
            elif opcode.name == "MEMOIZE":
                memo[len(memo)] = strings[-1] if strings else ""
            elif opcode.name.endswith("PUT"):
                memo[int(str(argument))] = strings[-1] if strings else ""
            elif opcode.name.endswith("GET"):
                strings.append(memo.get(int(str(argument)), ""))
            elif isinstance(argument, str):
                strings.append(argument)
    except (ValueError, IndexError, EOFError, MemoryError, OverflowError, struct.error):
        return False
    return True


@contextlib.contextmanager
def _report_write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:
        # torch reports a full disk as a RuntimeError of its zip writer.
        reason = error.strerror if isinstance(error, OSError) else str(error).split("\n", 1)[0]
        kept = "; the earlier file of that name is unchanged" if path.is_file() else ""
        raise CheckpointError(
            f"cannot write {path}: {reason} (is the disk full or the folder read-only?){kept}"
        ) from error
