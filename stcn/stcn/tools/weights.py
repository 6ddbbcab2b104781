"""Download of the published weights (method specification sections 1.1 and 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stcn.checkpoint import load_network
from stcn.tools.archives import STATE_FOLDER
from stcn.tools.confirm import say
from vidseg_common.config import ArgumentParser
from vidseg_common.download import download
from vidseg_common.files import check_writable


@dataclass(frozen=True)
class Weights:
    """A published file: its Drive id, and its name in the folder of weights."""

    drive_id: str
    file_name: str
    description: str


PUBLISHED = {
    "s012": Weights(
        "1mRrE0uCI2ktdWlUgapJI_KmgeIiF2eOm", "stcn.pth", "stages 0, 1 and 2; the published tables"
    ),
    "s03": Weights("1JllXPJZola0G-g1aUQfXe9nLMBioj-aH", "stcn_s03.pth", "stages 0 and 3, no BL30K"),
}


def build_parser() -> ArgumentParser:
    """Return the parser of the command line."""
    names = "\n".join(
        f"  {name:5} {w.file_name:13} {w.description}" for name, w in PUBLISHED.items()
    )
    parser = ArgumentParser(
        prog="download_model.py", description="Download published weights.\n\nfiles:\n" + names
    )
    parser.add_argument("--name", choices=list(PUBLISHED), default="s012", help="which file")
    parser.add_argument("--output", type=Path, default=Path("saves"), help="folder of weights")
    parser.add_argument("--from-file", type=Path, help="a copy fetched by hand, to check and place")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = build_parser().parse_args(argv)
    weights = PUBLISHED[args.name]
    target = args.output / weights.file_name
    if target.exists() and args.from_file is None:
        load_network(target)
        say(f"{target}: already there and in order")
        return 0
    check_writable(args.output)
    place_weights(weights, target, from_file=args.from_file)
    say(f"{target}: loads strictly, ready to use")
    return 0


def place_weights(weights: Weights, target: Path, *, from_file: Path | None = None) -> None:
    """Fetch a published file and give it its name once it has been loaded strictly.

    Args:
        weights: which one.
        target: where it belongs.
        from_file: take this copy instead of downloading.

    Raises:
        DownloadError: it cannot be fetched.
        CheckpointError: it is not a file of this network.
    """
    fetched = target.parent / STATE_FOLDER / weights.file_name
    download(fetched, drive_id=weights.drive_id, from_file=from_file)
    try:
        load_network(fetched)
        fetched.replace(target)
    finally:
        fetched.unlink(missing_ok=True)
