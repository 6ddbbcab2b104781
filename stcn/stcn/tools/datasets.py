"""Download of the training and evaluation data sets (method specification section 7)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stcn.tools.archives import Archive, fetch
from stcn.tools.confirm import confirmed, say
from stcn.tools.resize import resize_video_set
from vidseg_common.config import ArgumentParser
from vidseg_common.files import check_writable

_FRAMES = ("JPEGImages",)
_STATIC = ("BIG_small", "DUTS-TE", "DUTS-TR", "ecssd", "fss", "HRSOD_small")

ARCHIVES = (
    Archive("static.zip", "1wUJq3HcLdN-z1t4CsUhjeZ9BVDb9YKLd", "static", _STATIC),
    Archive("davis-2016.zip", "198aRlh5CpAoFz0hfRgYbiNenn_K8DxWD", "DAVIS/2016", _FRAMES),
    Archive(
        "davis-2017-trainval.zip",
        "1kiaxrX_4GuW6NmiVuKGSGVoKGWjOdp6d",
        "DAVIS/2017/trainval",
        _FRAMES,
    ),
    Archive(
        "davis-2017-scribbles.zip",
        "1JzIQSu36h7dVM8q0VoE4oZJwBXvrZlkl",
        "DAVIS/2017/trainval",
        ("Scribbles",),
    ),
    Archive(
        "davis-2017-test-dev.zip",
        "1fmkxU2v9cQwyb62Tj1xFDdh2p4kDsUzD",
        "DAVIS/2017/test-dev",
        _FRAMES,
    ),
    Archive(
        "youtube-2019-train.zip", "13Eqw0gVK-AO5B-cqvJ203mZ2vzWck9s4", "YouTube/train", _FRAMES
    ),
    Archive(
        "youtube-2019-valid.zip", "1o586Wjya-f2ohxYf9C1RlRH-gkrzGS8t", "YouTube/valid", _FRAMES
    ),
    Archive(
        "youtube-2019-valid-all-frames.zip",
        "1rWQzZcMskgpEQOZdJPJ7eTmLCBEIIpEN",
        "YouTube/all_frames/valid_all_frames",
        _FRAMES,
    ),
    Archive(
        "youtube-2018-valid.zip", "1-QrceIl5sUNTKz7Iq0UsWC6NLZq7girr", "YouTube2018/valid", _FRAMES
    ),
    Archive(
        "youtube-2018-valid-all-frames.zip",
        "1yVoHM6zgdcL348cFpolFcEl4IC1gorbV",
        "YouTube2018/all_frames/valid_all_frames",
        _FRAMES,
    ),
)
#: The one whose frames training wants smaller.
RESIZED = "youtube-2019-train.zip"

QUESTION = """\
This downloads the static image sets, DAVIS 2016 and 2017 and YouTube-VOS 2018 and 2019 into
{root}. Their licences are those of their owners; make sure that you may use them."""


def build_parser() -> ArgumentParser:
    """Return the parser of the command line."""
    names = "\n".join(f"  {a.name:36} -> {a.target}" for a in ARCHIVES)
    parser = ArgumentParser(
        prog="download_datasets.py",
        description="Download the data sets of training and evaluation.\n\narchives:\n" + names,
    )
    parser.add_argument("--root", type=Path, default=Path(".."), help="folder of all data")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--from-dir", type=Path, help="folder of archives fetched by hand, named as above"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="ARCHIVE",
        choices=[a.name for a in ARCHIVES],
        help="these only",
    )
    parser.add_argument("--num_workers", type=int, default=8, help="processes that resize frames")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = build_parser().parse_args(argv)
    if not confirmed(QUESTION.format(root=args.root.resolve()), yes=args.yes):
        return 1
    check_writable(args.root)
    chosen = [a for a in ARCHIVES if args.only is None or a.name in args.only]
    for archive in chosen:
        fetch(archive, args.root, from_dir=args.from_dir)
        if archive.name == RESIZED:
            source, small = args.root / "YouTube/train", args.root / "YouTube/train_480p"
            say(f"resizing to {small}")
            resize_video_set(source, small, num_workers=args.num_workers)
    return 0
