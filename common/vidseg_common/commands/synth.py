"""`vidseg synth OUT`: a synthetic data set, with the flags of `vidseg_common.synthetic`."""

from __future__ import annotations

from collections.abc import Sequence

from vidseg_common import synthetic_cli


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the data set.

    Returns:
        0, the exit status.

    Raises:
        UserError: bad input.
        OSError: a file cannot be written.
    """
    return synthetic_cli.main(argv, prog="vidseg synth")
