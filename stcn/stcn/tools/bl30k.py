"""Download of BL30K, the rendered videos of training stage 1 (method specification section 7)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from stcn.tools.archives import Archive, fetch
from stcn.tools.confirm import confirmed
from vidseg_common.config import ArgumentParser
from vidseg_common.files import check_writable

DRIVE_IDS = {
    "a": "1z9V5zxLOJLNt1Uj7RFqaP2FZWKzyXvVc",
    "b": "11-IzgNwEAPxgagb67FSrBdzZR7OKAEdJ",
    "c": "1ZfIv6GTo-OGpXpoKen1fUvDQ0A_WoQ-Q",
    "d": "1G4eXgYS2kL7_Cc0x3N1g1x7Zl8D_aU_-",
    "e": "1Y8q0V_oBwJIY27W_6-8CD1dRqV2gNTdE",
    "f": "1nawBAazf_unMv46qGBHhWcQ4JXZ5883r",
}
ARCHIVES = tuple(
    Archive(f"BL30K_{part}.tar", drive_id, "BL30K", ("JPEGImages", "Annotations"))
    for part, drive_id in DRIVE_IDS.items()
)

QUESTION = """\
BL30K comes in six archives of about 115 GB each, 700 GB in all; about 1 TB is needed while they
are unpacked into {target}.
Free there now: {free:.0f} GB."""


def build_parser() -> ArgumentParser:
    """Return the parser of the command line."""
    names = ", ".join(archive.name for archive in ARCHIVES)
    parser = ArgumentParser(
        prog="download_bl30k.py", description=f"Download BL30K.\n\narchives: {names}"
    )
    parser.add_argument("--root", type=Path, default=Path(".."), help="folder of all data")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--from-dir", type=Path, help="folder of archives fetched by hand, named as above"
    )
    parser.add_argument(
        "--parts", nargs="+", choices=list(DRIVE_IDS), default=list(DRIVE_IDS), help="which of them"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = build_parser().parse_args(argv)
    check_writable(args.root)
    free = shutil.disk_usage(args.root).free / 1e9
    question = QUESTION.format(target=(args.root / "BL30K").resolve(), free=free)
    if not confirmed(question, yes=args.yes):
        return 1
    for part, archive in zip(DRIVE_IDS, ARCHIVES, strict=True):
        if part in args.parts:
            fetch(archive, args.root, from_dir=args.from_dir)
    return 0
