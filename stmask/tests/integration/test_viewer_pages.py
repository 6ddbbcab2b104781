"""The pages of the viewer in a real browser, headless Chromium."""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stmask.inference.postprocess import FrameResult
from stmask.outputs.drawing import color_of
from stmask.outputs.web import WebWriter
from stmask.viewer import Server, Site
from vidseg_common import rle

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
NAMES = ("cat", "dog")
SIZE = (90, 160)
GREY = 100
#: A function in the page; its return value follows.
IN_PAGE = """async (masks) => {
  const { decodeMask } = await import('./rle.js');
  const attempt = (mask) => { try { return decodeMask(mask); } catch (e) { return e.message; } };
  return """


def find_browser() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = (shutil.which(name) for name in names)
    return os.environ.get("STMASK_CHROMIUM") or next(filter(None, found), None)


def result(num: int, shift: int) -> FrameResult:
    masks = np.zeros((num, *SIZE), bool)
    boxes = np.zeros((num, 4), np.int64)
    for i in range(num):
        left = 5 + 50 * i + shift
        boxes[i] = (left, 30, left + 40, 80)
        masks[i, 30:80, left : left + 40] = True
        masks[i, 40:50, left + 10 : left + 20] = False
    scores = np.linspace(0.9, 0.5, num).astype(np.float32)
    return FrameResult(np.arange(num), np.arange(num) % 2 + 1, scores, boxes, masks)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result file of three images: two, none and three detections; the last has no picture."""
    folder = tmp_path_factory.mktemp("viewer")
    (folder / "images").mkdir()
    with WebWriter(folder / "dets" / "my run.json", {"name": "<b>run</b>"}, NAMES) as writer:
        for t, num in enumerate((2, 0, 3)):
            writer.add(result(num, t), f"{t}.png")
            if t < 2:
                picture = np.full((*SIZE, 3), GREY, np.uint8)
                Image.fromarray(picture).save(folder / "images" / f"{t}.png")
    (folder / "dets" / "empty.json").write_text('{"info": {}, "images": []}')
    return folder


@pytest.fixture(scope="module")
def address(root: Path) -> Iterator[str]:
    with Server(Site(root / "dets", root / "images"), port=0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.address
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    binary = find_browser()
    if binary is None:
        pytest.skip("no Chromium on this machine (STMASK_CHROMIUM names one)")
    with playwright.sync_playwright() as driver:
        # Without a sandbox of its own: containers seldom allow one.
        running = driver.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page of a fresh profile; anything it complains about fails the test."""
    context = browser.new_context()
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    yield opened
    context.close()
    assert not faults


def open_image(page: Any, address: str, idx: int, drawn: str) -> None:
    page.goto(f"{address}viewer?config=my%20run&idx={idx}")
    wait_for(page, drawn)


def wait_for(page: Any, drawn: str) -> None:
    """Waits until PLACE/DETECTIONS is on the canvas."""
    page.wait_for_selector(f'body[data-drawn="{drawn}"]', timeout=10_000)


def pixel(page: Any, x: int, y: int) -> list[int]:
    script = "([x, y]) => [...canvas.getContext('2d').getImageData(x, y, 1, 1).data]"
    return page.evaluate(script, [x, y])[:3]


def set_range(page: Any, name: str, value: int) -> None:
    page.evaluate(
        "([id, v]) => { const e = document.getElementById(id); e.value = v;"
        " e.dispatchEvent(new Event('input')); }",
        [name, value],
    )


def only_masks(page: Any) -> None:
    for name in ("box", "class", "score"):
        page.uncheck(f"#{name}")


def test_the_index_links_to_every_file(page, address):
    page.goto(address)
    page.wait_for_selector("#files a")
    assert page.locator("#files a").all_inner_texts() == ["empty", "my run"]
    page.click("text=my run")
    wait_for(page, "0/2")
    assert page.inner_text("#title") == "my run"
    assert page.inner_text("#place") == "image 1 of 3, 2 detections"


def test_configuration_is_shown_as_text(page, address):
    open_image(page, address, 0, "0/2")
    assert page.text_content("#info") == "name<b>run</b>"


def test_masks_are_painted_where_they_are(page, address):
    open_image(page, address, 0, "0/2")
    only_masks(page)
    set_range(page, "alpha", 255)
    assert pixel(page, 10, 35) == list(color_of(0))
    assert pixel(page, 60, 35) == list(color_of(1))
    assert pixel(page, 20, 45) == [GREY] * 3  # the hole
    assert pixel(page, 2, 2) == [GREY] * 3


def test_alpha_mixes(page, address):
    open_image(page, address, 0, "0/2")
    only_masks(page)
    set_range(page, "alpha", 51)
    expected = 0.8 * GREY + 0.2 * np.array(color_of(0))
    assert np.abs(np.array(pixel(page, 10, 35)) - expected).max() <= 2
    page.uncheck("#mask")
    assert pixel(page, 10, 35) == [GREY] * 3


def test_top_k_and_one_only(page, address):
    open_image(page, address, 0, "0/2")
    only_masks(page)
    set_range(page, "alpha", 255)
    set_range(page, "topk", 1)
    wait_for(page, "0/1")
    assert pixel(page, 60, 35) == [GREY] * 3
    set_range(page, "topk", 2)
    page.check("#single")
    wait_for(page, "0/1")
    assert pixel(page, 10, 35) == [GREY] * 3
    assert pixel(page, 60, 35) == list(color_of(1))
    set_range(page, "topk", 0)
    wait_for(page, "0/0")


def test_boxes_and_labels(page, address):
    open_image(page, address, 0, "0/2")
    page.uncheck("#mask")
    assert pixel(page, 5, 60) == list(color_of(0))
    labelled = [pixel(page, x, 20) for x in range(6, 30)]
    page.uncheck("#class")
    page.uncheck("#score")
    assert list(color_of(0)) in labelled
    assert pixel(page, 8, 20) == [GREY] * 3


def test_buttons_and_keys_wrap_around(page, address):
    open_image(page, address, 0, "0/2")
    page.click("#prev")
    wait_for(page, "2/3")
    assert "idx=2" in page.url
    assert "no image 2" in page.inner_text("#message")
    page.click("#next")
    wait_for(page, "0/2")
    page.keyboard.press("ArrowRight")
    wait_for(page, "1/0")
    assert page.inner_text("#message") == ""
    page.keyboard.press("ArrowLeft")
    wait_for(page, "0/2")


def test_settings_outlive_the_page(page, address):
    open_image(page, address, 0, "0/2")
    set_range(page, "topk", 1)
    page.uncheck("#box")
    (cookie,) = page.context.cookies()
    assert cookie["name"] == "viewer"
    open_image(page, address, 2, "2/1")
    assert not page.is_checked("#box") and page.is_checked("#mask")
    assert page.inner_text("#topk-value") == "1"


def test_a_broken_cookie_does_no_harm(page, address):
    page.context.add_cookies([{"name": "viewer", "value": "%7Bnot json", "url": address}])
    open_image(page, address, 0, "0/2")
    assert page.is_checked("#box")


@pytest.mark.parametrize(
    ("config", "message"), [("absent", "no result file absent"), ("empty", "holds no images")]
)
def test_files_that_cannot_be_shown_are_told(page, address, config, message):
    page.goto(f"{address}viewer?config={config}")
    page.wait_for_function("document.getElementById('message').textContent")
    assert message in page.inner_text("#message")


def test_the_browser_decodes_what_python_encodes(page, address):
    rng = np.random.default_rng(0)
    masks = [rng.random((h, w)) < p for h, w, p in ((7, 5, 0.5), (1, 9, 0.3), (64, 48, 0.02))]
    masks += [np.zeros((6, 4), bool), np.ones((6, 4), bool)]
    wide = np.zeros((64, 120), bool)
    wide[:, 30:119] = True  # runs of thousands
    page.goto(address)
    script = IN_PAGE + "masks.map((mask) => [...decodeMask(mask)]); }"
    encoded = [json.loads(json.dumps(rle.encode(mask))) for mask in [*masks, wide]]
    for mask, pixels in zip([*masks, wide], page.evaluate(script, encoded), strict=True):
        assert (np.array(pixels, bool).reshape(mask.shape) == mask).all()


@pytest.mark.parametrize("counts", ["\x10", "5", "5555555555o"])
def test_malformed_masks_are_refused_by_the_browser(page, address, counts):
    page.goto(address)
    script = IN_PAGE + "attempt(masks); }"
    assert "run lengths" in page.evaluate(script, {"size": [3, 3], "counts": counts})


def iou_of(page: Any) -> float:
    return float(page.inner_text("#iou"))


def test_iou_of_two_boxes(page, address):
    page.goto(f"{address}iou")
    # Both 200 x 150; they share 100 x 100.
    assert iou_of(page) == round(10_000 / 50_000, 3)
    board = page.locator("#board").bounding_box()
    page.mouse.move(board["x"] + 300, board["y"] + 200)
    page.mouse.down()
    page.mouse.move(board["x"] + 200, board["y"] + 150)
    page.mouse.up()
    assert iou_of(page) == 1.0
    page.mouse.move(board["x"] + 260, board["y"] + 210)
    page.mouse.down()
    page.mouse.move(board["x"] + 160, board["y"] + 210, steps=3)
    page.mouse.up()
    assert iou_of(page) == 0.5
