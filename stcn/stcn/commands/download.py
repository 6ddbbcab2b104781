"""`stcn download weights | datasets | bl30k`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stcn.tools import bl30k, datasets, weights
from vidseg_common.arguments import did_you_mean
from vidseg_common.errors import UserError

TOOLS: dict[str, Callable[[Sequence[str]], int | None]] = {
    "weights": weights.main,
    "datasets": datasets.main,
    "bl30k": bl30k.main,
}


def main(argv: Sequence[str]) -> int:
    """Runs a download tool; the rest of the words are its flags.

    Raises:
        UserError: no such tool.
    """
    if not argv or argv[0] not in TOOLS:
        given = argv[0] if argv else ""
        hint = did_you_mean(given, TOOLS) if given else ""
        raise UserError(f"what to download: {', '.join(TOOLS)}; got {given!r}{hint}")
    return TOOLS[argv[0]](argv[1:]) or 0
