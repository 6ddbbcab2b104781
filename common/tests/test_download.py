"""Downloads from a local server that behaves in every bad way."""

from __future__ import annotations

import fcntl
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from vidseg_common import download_http
from vidseg_common.download import download
from vidseg_common.errors import DownloadError

CONTENT = bytes(range(256)) * 2000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Behaviour:
    """What the server does, and what it was asked."""

    content: bytes = CONTENT
    etag: str | None = '"v1"'
    ranges: bool = True
    status: list[int] = field(default_factory=list)  # answers before it gives the file
    drop_after: int | None = None  # bytes of each answer, then the connection is closed
    drops: int = 10**9
    length: bool = True
    wrong_range: bool = False
    asked: list[str | None] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        b = self.behaviour
        b.asked.append(self.headers.get("Range"))
        if b.status:
            self.send_error(b.status.pop(0))
            return
        start = self._start()
        if start >= len(b.content) > 0 and start:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(b.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = b.content[start:]
        self.send_response(206 if start else 200)
        if start:
            first = 0 if b.wrong_range else start
            self.send_header(
                "Content-Range", f"bytes {first}-{len(b.content) - 1}/{len(b.content)}"
            )
        if b.etag:
            self.send_header("ETag", b.etag)
        if b.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if b.drop_after is not None and b.drops > 0:
            b.drops -= 1
            body = body[: b.drop_after]
        self.wfile.write(body)

    def _start(self) -> int:
        b = self.behaviour
        asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if not asked or not b.ranges or (condition is not None and condition != b.etag):
            return 0
        return int(asked.removeprefix("bytes=").rstrip("-"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Behaviour]:
    monkeypatch.setattr(download_http, "_FIRST_DELAY_S", 0.001)
    monkeypatch.setenv("NO_PROXY", "*")
    behaviour = Behaviour()
    handler = type("Bound", (Handler,), {"behaviour": behaviour})
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    behaviour.url = f"http://127.0.0.1:{httpd.server_address[1]}/weights.pth"
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield behaviour
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def get(server: Behaviour, target: Path, **options: Any) -> Path:
    return download(target, url=server.url, progress=False, **options)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("sha256", [DIGEST, DIGEST.upper(), None])
def test_download(server: Behaviour, tmp_path: Path, length: bool, sha256: str | None) -> None:
    server.length = length
    target = tmp_path / "saves" / "weights.pth"
    assert get(server, target, sha256=sha256) == target
    assert target.read_bytes() == CONTENT
    assert names(target.parent) == ["weights.pth"]


def test_progress_goes_to_stderr(
    server: Behaviour, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    download(tmp_path / "weights.pth", url=server.url)
    out, err = capfd.readouterr()
    assert out == "" and "weights.pth" in err


def test_existing_file_is_not_downloaded_again(server: Behaviour, tmp_path: Path) -> None:
    target = tmp_path / "weights.pth"
    target.write_bytes(CONTENT)
    get(server, target, sha256=DIGEST)
    target.write_bytes(b"of unknown origin")
    get(server, target)
    assert server.asked == []
    assert target.read_bytes() == b"of unknown origin"


def test_existing_wrong_file_is_replaced_by_a_verified_one_only(
    server: Behaviour, tmp_path: Path
) -> None:
    target = tmp_path / "weights.pth"
    target.write_bytes(b"damaged")
    server.status = [404]
    with pytest.raises(DownloadError):
        get(server, target, sha256=DIGEST)
    assert target.read_bytes() == b"damaged"
    get(server, target, sha256=DIGEST)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("etag", ['"v1"', 'W/"v1"', None])
def test_dropped_connection_is_taken_up_again(
    server: Behaviour, tmp_path: Path, ranges: bool, etag: str | None
) -> None:
    server.drop_after, server.drops = 150_000, 3
    server.ranges, server.etag = ranges, etag
    get(server, tmp_path / "weights.pth", sha256=DIGEST)
    assert (tmp_path / "weights.pth").read_bytes() == CONTENT
    assert names(tmp_path) == ["weights.pth"]
    if ranges:
        assert server.asked == [None, "bytes=150000-", "bytes=300000-", "bytes=450000-"]


def test_next_run_goes_on_where_this_one_stopped(
    server: Behaviour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "weights.pth"
    server.drop_after, server.drops = 100_000, 1
    with monkeypatch.context() as patch:
        patch.setattr(download_http, "_MAX_FAILURES", 1)
        with pytest.raises(DownloadError, match="100000 bytes are kept, run again to go on"):
            get(server, target, sha256=DIGEST)
    assert names(tmp_path) == ["weights.pth.part", "weights.pth.part.json"]
    get(server, target, sha256=DIGEST)
    assert server.asked == [None, "bytes=100000-"]
    assert names(tmp_path) == ["weights.pth"]


def leave_part(server: Behaviour, target: Path, content: bytes, url: str | None = None) -> None:
    part = target.with_name(target.name + ".part")
    part.write_bytes(content)
    origin = download_http._Origin(url or server.url, '"v1"', len(CONTENT))
    download_http.write_json(download_http._origin_path(part), vars(origin))


def test_partial_file_of_a_file_that_changed_is_not_used(server: Behaviour, tmp_path: Path) -> None:
    leave_part(server, tmp_path / "weights.pth", b"x" * 1000)
    server.etag = '"v2"'
    get(server, tmp_path / "weights.pth", sha256=DIGEST)
    assert server.asked == ["bytes=1000-"]


def test_partial_file_of_another_address_is_not_used(server: Behaviour, tmp_path: Path) -> None:
    leave_part(server, tmp_path / "weights.pth", b"x" * 1000, "http://elsewhere.example/")
    get(server, tmp_path / "weights.pth", sha256=DIGEST)
    assert server.asked == [None]
    (tmp_path / "weights.pth").unlink()
    (tmp_path / "weights.pth.part").write_bytes(b"of unknown origin")
    get(server, tmp_path / "weights.pth", sha256=DIGEST)


def test_whole_partial_file_is_verified_and_accepted(server: Behaviour, tmp_path: Path) -> None:
    leave_part(server, tmp_path / "weights.pth", CONTENT)
    get(server, tmp_path / "weights.pth", sha256=DIGEST)
    assert server.asked == [f"bytes={len(CONTENT)}-"]
    assert names(tmp_path) == ["weights.pth"]


def test_partial_file_that_is_too_long_is_started_over(server: Behaviour, tmp_path: Path) -> None:
    leave_part(server, tmp_path / "weights.pth", CONTENT + b"more")
    get(server, tmp_path / "weights.pth", sha256=DIGEST)
    assert server.asked == [f"bytes={len(CONTENT) + 4}-", None]


def test_wrong_content_never_gets_the_name(server: Behaviour, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(DownloadError, match=f"SHA-256 is .* instead of {DIGEST}"):
        get(server, tmp_path / "weights.pth", sha256=DIGEST)
    assert names(tmp_path) == []


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_refusal_is_told_at_once(server: Behaviour, tmp_path: Path, status: int) -> None:
    server.status = [status]
    with pytest.raises(DownloadError, match=f"weights.pth: the server answers {status}"):
        get(server, tmp_path / "weights.pth")
    assert len(server.asked) == 1
    assert names(tmp_path) == []


def test_server_in_trouble_is_asked_again(server: Behaviour, tmp_path: Path) -> None:
    server.status = [503, 429, 500]
    get(server, tmp_path / "weights.pth", sha256=DIGEST)
    server.status = [503] * 20
    with pytest.raises(DownloadError, match="answers 503"):
        get(server, tmp_path / "other.pth")
    assert names(tmp_path) == ["weights.pth"]


def test_nobody_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(download_http, "_FIRST_DELAY_S", 0.001)
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(DownloadError, match=r"cannot download http://127\.0\.0\.1:9/x"):
        download(tmp_path / "x", url="http://127.0.0.1:9/x", progress=False)
    with pytest.raises(DownloadError, match="cannot download ftp"):
        download(tmp_path / "x", url="ftp://127.0.0.1/x", progress=False)


def test_wrong_part_is_refused(server: Behaviour, tmp_path: Path) -> None:
    leave_part(server, tmp_path / "weights.pth", CONTENT[:1000])
    server.wrong_range = True
    with pytest.raises(DownloadError, match="another part"):
        get(server, tmp_path / "weights.pth", sha256=DIGEST)
    assert not (tmp_path / "weights.pth").exists()


def test_web_page_instead_of_a_file(server: Behaviour, tmp_path: Path) -> None:
    server.content = b"\n <!DOCTYPE html><html>Please log in</html>"
    with pytest.raises(DownloadError, match=r"web page instead of weights\.pth.*--from-file"):
        get(server, tmp_path / "weights.pth")
    assert names(tmp_path) == []
    assert get(server, tmp_path / "page.html").is_file()


def test_no_room(server: Behaviour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_http.shutil, "disk_usage", lambda _: type("U", (), {"free": 1}))
    with pytest.raises(DownloadError, match="not enough room"):
        get(server, tmp_path / "weights.pth")
    assert names(tmp_path) == []


def test_two_processes_do_not_mix(server: Behaviour, tmp_path: Path) -> None:
    with (tmp_path / "weights.pth.lock").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DownloadError, match="another process"):
            get(server, tmp_path / "weights.pth")
    get(server, tmp_path / "weights.pth", sha256=DIGEST)
    assert names(tmp_path) == ["weights.pth"]


@pytest.mark.parametrize(
    "options",
    [{}, {"url": "a", "drive_id": "b"}, {"url": "a", "sha256": "abc"}],
)
def test_arguments(tmp_path: Path, options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"exactly one|not a SHA-256"):
        download(tmp_path / "x", **options)  # type: ignore[arg-type]


def test_target_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="is a folder"):
        download(tmp_path, url="http://127.0.0.1:9/x")
