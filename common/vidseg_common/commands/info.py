"""`vidseg info`: what a data set or a results file holds."""

from __future__ import annotations

import json
from collections.abc import Sequence

from vidseg_common.arguments import ArgumentParser
from vidseg_common.commands.common import (
    add_data_flags,
    add_truth_flags,
    open_data,
    open_truth,
    say,
    shows_progress,
    warn_of_others,
)
from vidseg_common.dataset_statistics import Statistics, statistics_of, summary_of

_BAR = 30
_MOST_LISTED = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the counts of a data set.

    Returns:
        0, the exit status.

    Raises:
        UserError: it cannot be read.
    """
    parser = ArgumentParser("vidseg info", description="Count videos, frames, tracks, categories.")
    add_data_flags(parser, "annotation file or folder, or results")
    add_truth_flags(parser, "ground truth that results belong to")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    truth = open_truth(options)
    data, found = open_data(
        options, options.path, name=options.format, images=options.images, truth=truth
    )
    warn_of_others(data)
    counts = statistics_of(data, progress=shows_progress(options))
    if options.json:
        report = {"path": str(options.path), "format": found.name, **counts.to_json()}
        say(json.dumps(report, indent=1, ensure_ascii=False))
    else:
        say(f"{options.path}: {found.name}, {found.title}", *_text(counts))
    return 0


def _text(counts: Statistics) -> list[str]:
    sizes = [f"{size} ({number})" for size, number in counts.sizes.most_common(_MOST_LISTED)]
    more = len(counts.sizes) - len(sizes)
    lines = [
        f"  videos        {counts.videos}",
        f"  frames        {counts.frames}{_spread(counts.video_lengths, 'per video')}",
        f"  sizes         {', '.join(sizes)}{f' and {more} more' if more > 0 else ''}",
        f"  tracks        {counts.tracks}{_spread(counts.tracks_per_video, 'per video')}",
        f"  masks         {counts.masks}{_spread(counts.track_lengths, 'per track')}",
    ]
    if counts.crowds:
        lines.append(f"  crowds        {counts.crowds}")
    if counts.unlabelled:
        lines.append(f"  unlabelled    {counts.unlabelled} frames")
    lines.append(f"  images        {_images(counts)}")
    return [*lines, "  tracks by category", *_histogram(counts)]


def _spread(values: Sequence[int], per: str) -> str:
    summary = summary_of(values)
    if summary is None:
        return ""
    return f" ({summary['min']} to {summary['max']}, median {summary['median']:g} {per})"


def _images(counts: Statistics) -> str:
    if not counts.checked_images:
        return "not looked for (no folder known; --images DIR)"
    missing = counts.missing_images
    if not missing:
        return "all there"
    more = "" if len(missing) <= _MOST_LISTED else ", ..."
    return f"{len(missing)} missing: {', '.join(missing[:_MOST_LISTED])}{more}"


def _histogram(counts: Statistics) -> list[str]:
    most = max(counts.categories.values(), default=0) or 1
    width = max((len(name) for name in counts.categories), default=0)
    return [
        f"    {name:<{width}}  {number:>6}  {'#' * round(_BAR * number / most)}".rstrip()
        for name, number in counts.categories.items()
    ]
