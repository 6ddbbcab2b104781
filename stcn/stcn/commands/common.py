"""Small things that every command needs."""

from __future__ import annotations

import sys
from pathlib import Path


def say(*lines: str) -> None:
    """Prints lines for the user."""
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def metrics_folder(output: Path) -> Path:
    """Numbers go beside the results, whose folder holds nothing but the submission."""
    return output.with_name(f"{output.name}_metrics")
