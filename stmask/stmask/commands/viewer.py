"""`stmask viewer` and `web/server.py`: the viewer in a browser on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from stmask.commands.flags import say
from stmask.viewer import PAGES, PORT, Server, Site
from vidseg_common.config import ArgumentParser
from vidseg_common.errors import UserError

_COCO_IMAGES = Path("../data/coco/images")


def build_parser() -> ArgumentParser:
    """Flags of the command."""
    parser = ArgumentParser("stmask viewer", description=__doc__)
    parser.add_argument(
        "root",
        type=Path,
        nargs="?",
        default=Path(),
        help="folder with dets/ and images/; default: this one",
    )
    parser.add_argument("--dets", type=Path, help="folder of result files; default: ROOT/dets")
    parser.add_argument(
        "--images",
        type=Path,
        help="folder of the images; default: ROOT/images where it exists, else that of COCO, "
        f"{_COCO_IMAGES.as_posix()}",
    )
    parser.add_argument("--pages", type=Path, help="folder of the pages; default: the shipped ones")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, default=PORT, help="0: any free one")
    parser.add_argument("--verbose", action="store_true", help="print every request")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until Ctrl-C.

    Raises:
        UserError: the folder of result files does not exist, or the port is taken.
    """
    args = build_parser().parse_args(argv)
    with Server(site_of(args), host=args.host, port=args.port, verbose=args.verbose) as server:
        say(f"viewer at {server.address} (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("")
    return 0


def site_of(args: argparse.Namespace) -> Site:
    """What parsed flags ask to serve.

    Raises:
        UserError: a folder does not exist.
    """
    dets = args.dets or args.root / "dets"
    if not dets.is_dir():
        raise UserError(f"no folder of result files: {dets} (--dets)")
    if args.images is not None and not args.images.is_dir():
        raise UserError(f"no folder of images: {args.images} (--images)")
    images = args.images or args.root / "images"
    if args.images is None and not images.is_dir():
        images = _COCO_IMAGES
    return Site(dets, images, args.pages or PAGES)
