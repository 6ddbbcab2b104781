"""`stcn eval DATASET ...`: one name for the four evaluation tools."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stcn.commands import eval_davis, eval_generic, eval_youtube, ms
from vidseg_common.arguments import did_you_mean
from vidseg_common.errors import UserError

TOOLS: dict[str, Callable[[Sequence[str]], int]] = {
    "davis2016": eval_davis.main_2016,
    "davis2017": eval_davis.main_2017,
    "youtube": eval_youtube.main,
    "generic": eval_generic.main,
    "youtube-ms": ms.main_eval,
    "merge-ms": ms.main_merge,
}


def main(argv: Sequence[str]) -> int:
    """Runs the tool of a data set; the rest of the words are its flags.

    Raises:
        UserError: no such data set.
    """
    if not argv or argv[0] not in TOOLS:
        given = argv[0] if argv else ""
        hint = did_you_mean(given, TOOLS) if given else ""
        raise UserError(f"unknown data set {given!r}{hint}; there are {', '.join(TOOLS)}")
    return TOOLS[argv[0]](argv[1:])
