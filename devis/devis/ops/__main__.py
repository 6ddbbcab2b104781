"""Builds the C++ kernels: `python -m devis.ops`."""

from __future__ import annotations

import sys

from devis.ops import native

if __name__ == "__main__":
    sys.stdout.write(f"{native.build()}\n")
