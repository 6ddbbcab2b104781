"""Which weights to use: a file, the official one, or the small network that ships with us."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from vidseg_common.checkpoint import read_safetensors_metadata
from vidseg_common.errors import CheckpointError

SHIPPED = Path(__file__).with_name("weights") / "stcn_demo.safetensors"
OFFICIAL_PLACES = (Path("saves/stcn.pth"), Path("stcn/saves/stcn.pth"))


@dataclass(frozen=True)
class Weights:
    """A weights file and how to speak of it.

    Attributes:
        path: the file.
        title: one line that says which weights these are.
        size: shorter side at which the network was meant to run, None for the frames' own.
    """

    path: Path
    title: str
    size: int | None

    @property
    def sha256(self) -> str:
        """Of the file, for records of results."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


def find_weights(name: str | Path | None = None) -> Weights:
    """Chooses weights.

    Args:
        name: a file, "demo" for the shipped network, "official" for `saves/stcn.pth`, or None
            for the best at hand: official if present, else the shipped one.

    Raises:
        CheckpointError: there is no such file; the message says how to get it.
    """
    official = next((path for path in OFFICIAL_PLACES if path.is_file()), None)
    if name == "official" and official is None:
        places = " or ".join(str(path) for path in OFFICIAL_PLACES)
        raise CheckpointError(f"no official weights at {places}: run `make weights-stcn`")
    if name in (None, "official") and official is not None:
        return Weights(official, f"official STCN weights ({official})", 480)
    if name in (None, "demo"):
        return Weights(SHIPPED, "the small demonstration network shipped here", _size(SHIPPED))
    path = Path(str(name))
    if not path.is_file():
        raise CheckpointError(f"{path}: no such weights file")
    return Weights(path, f"weights {path}", _size(path) or 480)


def _size(path: Path) -> int | None:
    if path.suffix != ".safetensors":
        return None
    size = read_safetensors_metadata(path).get("size")
    return int(size) if size else None
