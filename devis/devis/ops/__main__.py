"""Builds the C++ kernels: `python -m devis.ops`."""

from __future__ import annotations

import sys

from devis.ops import native


def main() -> int:
    """Prints where the library is; returns 1 when it cannot be built, and says why."""
    try:
        sys.stdout.write(f"{native.build()}\n")
    except (RuntimeError, OSError) as error:
        sys.stderr.write(f"the kernels could not be built: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
