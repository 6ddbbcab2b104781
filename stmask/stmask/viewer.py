"""The small web server of the viewer: its pages, result files and images. Source: spec section 12.

Paths of requests: `/` list of files, `/viewer?config=NAME&idx=N`, `/iou`, `/detindex` names of the
result files, `/dets/NAME.json`, `/image<ID>[?config=NAME]`; everything else is a file of the pages.
"""

from __future__ import annotations

import json
import mimetypes
import re
import sys
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from vidseg_common.errors import UserError
from vidseg_common.video_images import IMAGE_SUFFIXES

PORT = 6337
PAGES = Path(__file__).resolve().parent / "pages"
"""The pages, which are files of the package."""

_IMAGE = re.compile(r"/image(\d{1,18})")
_NAMED_PAGES = {"/": "index.html", "/viewer": "viewer.html", "/iou": "iou.html"}
_TYPES = {
    ".js": "text/javascript",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
}
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Answer:
    """What a request gets.

    Attributes:
        status: of HTTP.
        body: text, or the file to send.
        kind: content type of the body.
    """

    status: HTTPStatus
    body: str | Path
    kind: str = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Site:
    """What is served.

    Attributes:
        dets: folder of result files.
        images: folder of the images: `%012d.jpg`, or the names that a result file gives.
        pages: folder of the pages.
    """

    dets: Path
    images: Path
    pages: Path = field(default=PAGES)

    def names(self) -> list[str]:
        """Result files, without suffix, sorted."""
        return sorted(path.stem for path in self.dets.glob("*.json"))

    def answer(self, target: str) -> Answer:
        """Answers the target of a request, such as `/image12?config=NAME`."""
        parts = urlsplit(target)
        path = unquote(parts.path)
        if path == "/detindex":
            return Answer(HTTPStatus.OK, "\n".join(self.names()))
        if match := _IMAGE.fullmatch(path):
            config = parse_qs(parts.query).get("config", [""])[0]
            return _file_answer(self.image(int(match[1]), config))
        if path.startswith("/dets/"):
            return _file_answer(_inside(self.dets, path.removeprefix("/dets/"), (".json",)))
        name = _NAMED_PAGES.get(path, path.removeprefix("/"))
        return _file_answer(_inside(self.pages, name, (".html", ".js", ".css")))

    def image(self, image_id: int, config: str = "") -> Path | None:
        """The file of an image.

        Args:
            image_id: its number.
            config: the result file, whose name for the image counts first.

        Returns:
            None where there is none inside of the folder of images.
        """
        source = _inside(self.dets, f"{config}.json", (".json",)) if config else None
        if source is not None:
            name = _file_names(source, source.stat().st_mtime_ns).get(image_id)
            found = name and _inside(self.images, name, IMAGE_SUFFIXES)
            if found:
                return found
        return _inside(self.images, f"{image_id:012d}.jpg", IMAGE_SUFFIXES)


@lru_cache(maxsize=8)
def _file_names(path: Path, _changed_ns: int) -> dict[int, str]:
    """Images that a result file names; none for a file of another shape."""
    try:
        images = json.loads(path.read_text(encoding="utf-8"))["images"]
        return {
            x["image_id"]: x["file_name"] for x in images if isinstance(x.get("file_name"), str)
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _inside(folder: Path, name: str, suffixes: tuple[str, ...]) -> Path | None:
    """An existing file below a folder; None for anything that leaves it or is of another kind."""
    if "\0" in name:
        return None
    root = folder.resolve()
    path = (root / name).resolve()
    is_served = path.is_relative_to(root) and path.suffix.lower() in suffixes and path.is_file()
    return path if is_served else None


def _file_answer(path: Path | None) -> Answer:
    if path is None:
        return Answer(HTTPStatus.NOT_FOUND, "not found\n")
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    return Answer(HTTPStatus.OK, path, kind or "application/octet-stream")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self._send(with_body=True)

    def do_HEAD(self) -> None:
        self._send(with_body=False)

    def log_message(self, format: str, *args: Any) -> None:
        """Prints requests where the user asked for it."""
        if self.server.verbose:
            sys.stderr.write(f"{format % args}\n")

    def _send(self, *, with_body: bool) -> None:
        answer = self.server.site.answer(self.path)
        body = answer.body
        size = body.stat().st_size if isinstance(body, Path) else len(body.encode())
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(size))
        # Result files change while a run writes them.
        self.send_header("Cache-Control", "no-cache")
        self.end_headers()
        if with_body:
            self._send_body(body)

    def _send_body(self, body: str | Path) -> None:
        try:
            if isinstance(body, str):
                self.wfile.write(body.encode())
                return
            with body.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    self.wfile.write(chunk)
        except ConnectionError:
            # The reader went to the next image before this one had come.
            self.close_connection = True


class Server(ThreadingHTTPServer):
    """Serves a site until it is shut down.

    Args:
        site: what to serve.
        host: address to listen at.
        port: 0 takes a free one, which `server_port` tells.
        verbose: print every request.

    Raises:
        UserError: the pages are missing, or the address cannot be used.
    """

    daemon_threads = True

    def __init__(
        self, site: Site, *, host: str = "127.0.0.1", port: int = PORT, verbose: bool = False
    ) -> None:
        if not (site.pages / "viewer.html").is_file():
            raise UserError(f"no pages of the viewer in {site.pages} (--pages)")
        self.site = site
        self.verbose = verbose
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(
                f"cannot serve at {host} port {port}: {reason} (--host, --port)"
            ) from error

    @property
    def address(self) -> str:
        """Where a browser finds the viewer."""
        return f"http://{self.server_address[0]!s}:{self.server_port}/"
