"""The server of the viewer; the pages themselves are tested in a browser (integration)."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stmask.commands import viewer
from stmask.viewer import PAGES, Server, Site
from vidseg_common.errors import UserError


@pytest.fixture
def site(tmp_path: Path) -> Site:
    root = tmp_path / "served"
    for name in ("dets", "images/clip"):
        (root / name).mkdir(parents=True)
    entry = {"image_id": 0, "file_name": "clip/7.png", "dets": []}
    named = {"info": {}, "images": [entry, {"image_id": 1, "file_name": "../secret.png"}]}
    (root / "dets" / "run b.json").write_text(json.dumps(named))
    (root / "dets" / "a.json").write_text("[]")
    (root / "dets" / "notes.txt").write_text("private")
    picture = Image.fromarray(np.zeros((4, 6, 3), np.uint8))
    for path in ("images/clip/7.png", "images/000000000012.jpg", "secret.png"):
        picture.save(root / path)
    return Site(root / "dets", root / "images")


def test_result_files_are_listed(site):
    found = site.answer("/detindex")
    assert (found.status, found.body) == (HTTPStatus.OK, "a\nrun b")


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/", "index.html"),
        ("/viewer?config=a&idx=2", "viewer.html"),
        ("/iou", "iou.html"),
        ("/rle.js", "rle.js"),
    ],
)
def test_pages(site, target, name):
    found = site.answer(target)
    assert found.status == HTTPStatus.OK
    assert found.body == PAGES / name
    assert found.kind == ("text/javascript" if name.endswith(".js") else "text/html; charset=utf-8")


def test_an_installed_package_has_the_pages():
    wheel = pytest.importorskip("hatchling.builders.wheel")
    root = Path(__file__).parents[2]
    packed = {x.distribution_path for x in wheel.WheelBuilder(str(root)).recurse_included_files()}
    pages = {path.name for path in PAGES.iterdir()}
    assert {"index.html", "viewer.html", "iou.html", "viewer.js", "rle.js", "style.css"} <= pages
    assert {f"stmask/pages/{name}" for name in pages} <= packed


def test_images_by_number_and_by_name(site):
    assert site.answer("/image12").body == site.images / "000000000012.jpg"
    assert site.answer("/image0").status == HTTPStatus.NOT_FOUND
    found = site.answer("/image0?config=run%20b")
    assert (found.body, found.kind) == (site.images / "clip" / "7.png", "image/png")
    assert site.answer("/image12?config=a").status == HTTPStatus.OK


def test_an_edited_result_file_is_read_again(site):
    assert site.image(0, "run b") is not None
    entry = {"image_id": 3, "file_name": "clip/7.png", "dets": []}
    (site.dets / "run b.json").write_text(json.dumps({"images": [entry]}))
    assert site.image(0, "run b") is None and site.image(3, "run b") is not None


@pytest.mark.parametrize(
    "target",
    [
        *("/../secret.png", "/%2e%2e/secret.png", "/dets/../secret.png", "/dets/notes.txt"),
        *("/image1?config=run%20b", "/image0?config=../dets/run%20b%00", "/server.py", "/no.html"),
        *("/dets/%00.json", "/image99999999999999999999", "/dets/..%2f..%2fx.json", "/dets/"),
        *("//etc/passwd", "/image1?config=../../served/dets/run%20b"),
    ],
)
def test_nothing_outside_of_the_folders_is_served(site, target):
    assert site.answer(target).status == HTTPStatus.NOT_FOUND


@pytest.fixture
def server(site: Site) -> Iterator[Server]:
    with Server(site, port=0) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_requests_over_http(server):
    with urllib.request.urlopen(f"{server.address}dets/run%20b.json") as answer:
        assert answer.headers["Content-Type"] == "application/json"
        assert json.load(answer)["images"][0]["image_id"] == 0
    request = urllib.request.Request(f"{server.address}image12", method="HEAD")
    with urllib.request.urlopen(request) as answer:
        assert int(answer.headers["Content-Length"]) > 0 and answer.read() == b""
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{server.address}absent.js")
    assert caught.value.code == 404
    caught.value.close()


def test_a_port_in_use_is_told(server):
    with pytest.raises(UserError, match=r"cannot serve at 127\.0\.0\.1 port .*--host, --port"):
        Server(server.site, port=server.server_port)
    with pytest.raises(UserError, match=r"port 70000"):
        Server(server.site, port=70000)


def test_missing_folders_are_told(tmp_path, site):
    with pytest.raises(UserError, match="no folder of result files"):
        viewer.main([str(tmp_path / "absent")])
    with pytest.raises(UserError, match="no pages of the viewer"):
        Server(Site(site.dets, site.images, tmp_path), port=0)


def test_folders_of_the_command(site):
    parse = viewer.build_parser().parse_args
    assert viewer.site_of(parse([str(site.dets.parent)])) == site
    other = viewer.site_of(parse(["--dets", str(site.dets)]))
    assert other.images == Path("../data/coco/images")
    for words, message in (
        (["nowhere"], "no folder of result files: nowhere/dets"),
        ([str(site.dets.parent), "--images", "nowhere"], "no folder of images: nowhere"),
    ):
        with pytest.raises(UserError, match=message):
            viewer.site_of(parse(words))


def test_the_command_serves_until_it_is_interrupted(site, monkeypatch, capsys):
    def stop(_server: Server) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", stop)
    assert viewer.main([str(site.dets.parent), "--port", "0"]) == 0
    assert "viewer at http://127.0.0.1:" in capsys.readouterr().out
