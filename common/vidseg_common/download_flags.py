"""Files without a stable address: the user says where from, and they are checked before use."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Collection
from pathlib import Path

from vidseg_common.arguments import ArgumentParser
from vidseg_common.download import download
from vidseg_common.errors import DownloadError, UserError
from vidseg_common.files import check_writable


def download_parser(command: str, about: str, names: Collection[str]) -> ArgumentParser:
    """The command line of a method's download of weights.

    Args:
        command: as it is typed.
        about: what it does.
        names: of the files.
    """
    parser = ArgumentParser(command, description=about)
    listed = ", ".join(names)
    parser.add_argument("name", choices=names, metavar="NAME", help=f"which file: {listed}")
    add_source_flags(parser)
    parser.add_argument(
        *("--output", "-o"), type=Path, default=Path("weights"), help="folder of weights"
    )
    return parser


def add_source_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that say where the file comes from."""
    parser.add_argument("--url", help="http(s) address of the file")
    parser.add_argument("--drive-id", help="id of the file on Google Drive")
    parser.add_argument("--from-file", type=Path, help="a copy fetched by hand")


def download_checked(
    args: argparse.Namespace, target: Path, accept: Callable[[Path], object]
) -> None:
    """Fetches a file from where the flags say, has it checked, and gives it its name.

    Args:
        args: with the values of `add_source_flags`.
        target: the file to write; its folder is made.
        accept: gets the fetched file, which has another name so far, and raises when it is not
            what it should be. If it makes the target out of it, it removes the fetched file.

    Raises:
        DownloadError: not exactly one source, or the file cannot be fetched.
        UserError: what `accept` raised; the message has the name that the user knows.
    """
    sources = (args.url, args.drive_id, args.from_file)
    if sum(source is not None for source in sources) != 1:
        raise DownloadError(
            f"{target.stem}: give one of --url, --drive-id and --from-file; the links are on the "
            "page of the original project"
        )
    check_writable(target.parent)
    # A folder of its own keeps the name right in every message about the download.
    folder = target.parent / ".unchecked"
    fetched = folder / target.name
    try:
        download(fetched, url=args.url, drive_id=args.drive_id, from_file=args.from_file)
        accept(fetched)
        if fetched.exists():
            fetched.replace(target)
    except UserError as error:
        known = args.from_file or args.url or f"the file {args.drive_id} of Google Drive"
        raise type(error)(str(error).replace(str(fetched), str(known))) from error
    finally:
        fetched.unlink(missing_ok=True)
        # What an interrupted download received stays there, to be continued.
        with contextlib.suppress(OSError):
            folder.rmdir()
