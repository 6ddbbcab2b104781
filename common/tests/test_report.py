"""The HTML report: self-contained, safe, complete."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vidseg_common.report import (
    Chart,
    Report,
    Strip,
    Table,
    package_versions,
    render_report,
    write_report,
)
from vidseg_common.report_html import format_cell

EVIL = "<script src='http://evil.example/x.js'>\"&</script>"
VOID_TAGS = {"meta", "img", "line", "rect", "path", "br"}


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(self.words)


def frame(value: int = 90) -> np.ndarray:
    return np.full((60, 100, 3), value, np.uint8)


def full_report(word: str = "word") -> Report:
    """A report with everything in it; `word` stands for whatever a user may supply."""
    return Report(
        title=f"title {word}",
        command=["python", "eval.py", word],
        summary=f"summary {word}",
        numbers={f"J {word}": 0.81234, "frames": 1376, "remark": word, "missing": None},
        weights={f"role {word}": f"file {word}"},
        device=f"device {word}",
        versions={f"package {word}": f"1.0 {word}"},
        charts=[
            Chart(f"bars {word}", [word, "dog"], {f"J {word}": [0.5, None], "F": [0.2, 1.0]}),
            Chart(f"lines {word}", [word, "1", "2"], {word: [0.5, float("nan"), 0.9]}, "lines"),
        ],
        tables=[Table(f"table {word}", [f"column {word}", "J"], [[word, 0.5], ["b", None]])],
        strips=[Strip(f"strip {word}", [frame(), frame(10)], [word, "second"])],
        notes=[f"note {word}"],
        files={f"label {word}": f"folder/{word}.mp4"},
        created=f"today {word}",
    )


def test_everything_is_shown(tmp_path: Path) -> None:
    path = write_report(tmp_path / "out" / "report.html", full_report())
    page = Page(path.read_text(encoding="utf-8"))
    parts = ["title", "summary", "J", "role", "file", "device", "package", "1.0", "bars", "lines"]
    for part in [*parts, "table", "column", "strip", "note", "label", "today"]:
        assert f"{part} word" in page.text
    for number in ("0.812", "1376", "–", "0.500", "python eval.py word"):
        assert number in page.text
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["report.html"]


def test_nothing_is_loaded_from_outside() -> None:
    for word in ("word", EVIL):
        text = render_report(full_report(word))
        page = Page(text)
        loading = ("src", "href", "srcset", "data", "action", "poster", "xlink:href", "background")
        for tag, attributes in page.tags:
            assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form")
            assert not [name for name in attributes if name.startswith("on")]
            for name in loading:
                address = attributes.get(name) or ""
                assert not re.match(r"\s*([a-z][a-z0-9+.-]*:|//)", address, re.I) or (
                    tag == "img" and address.startswith("data:image/jpeg;base64,")
                )
        style = re.search(r"<style>(.*?)</style>", text, re.S)
        assert style is not None
        assert "url(" not in style[1] and "@import" not in style[1]
        policy = [m for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
        assert policy and "default-src 'none'" in str(policy[0]["content"])


def test_what_a_user_supplies_is_escaped() -> None:
    text = render_report(full_report(EVIL))
    assert "<script" not in text
    page = Page(text)
    assert page.text.count(EVIL) >= 18
    assert any(attributes.get("alt") == EVIL for attributes in page.all("img"))


def test_page_suits_phones_and_both_colour_schemes() -> None:
    text = render_report(full_report())
    metas = {m.get("name"): m.get("content") for m in Page(text).all("meta")}
    assert "width=device-width" in str(metas["viewport"])
    assert metas["color-scheme"] == "light dark"
    assert "prefers-color-scheme:dark" in text and "@media print" in text


def test_pictures_are_inside_and_scaled_down() -> None:
    wide = np.zeros((300, 1200, 3), np.uint8)
    wide[..., 0] = 200
    report = Report("pictures", strips=[Strip("s", [wide, frame()])])
    images = Page(render_report(report, image_width=400)).all("img")
    decoded = []
    for attributes in images:
        data = str(attributes["src"]).split(",", 1)[1]
        decoded.append(Image.open(io.BytesIO(base64.b64decode(data))))
    assert [image.size for image in decoded] == [(400, 100), (100, 60)]
    assert [str(a["width"]) for a in images] == ["400", "100"]
    assert np.abs(np.asarray(decoded[0])[50, 200].astype(int) - (200, 0, 0)).max() < 6


def widths(report: Report) -> list[float]:
    rects = [a for a in Page(render_report(report)).all("rect") if a.get("class") != "track"]
    return [float(str(a["width"]).rstrip("%")) for a in rects]


def test_bars_have_the_length_of_their_values() -> None:
    chart = Chart("c", ["a", "b"], {"J": [0.5, 1.0], "F": [None, 0.25]})
    assert widths(Report("t", charts=[chart])) == [50, 100, 25]
    seconds = Chart("c", ["a", "b"], {"s": [2.0, 8.0]}, maximum=None)
    assert widths(Report("t", charts=[seconds])) == [25, 100]
    beyond = Chart("c", ["a", "b"], {"s": [-1.0, 3.0]})
    assert widths(Report("t", charts=[beyond])) == [25, 75]
    nothing = Chart("c", ["a"], {"s": [0.0]}, maximum=None)
    assert widths(Report("t", charts=[nothing])) == [0]


def test_lines_have_gaps() -> None:
    chart = Chart("c", list("abcde"), {"J": [0.0, 1.0, None, 0.5, 0.5]}, "lines")
    paths = [
        a["d"] for a in Page(render_report(Report("t", charts=[chart]))).all("path")
        if "line" in str(a.get("class"))
    ]  # fmt: skip
    assert paths == ["M0.00 100.00h0L25.00 0.00M75.00 50.00h0L100.00 50.00"]


@pytest.mark.parametrize("labels", [[], ["one"], ["one", "two"]])
@pytest.mark.parametrize("kind", ["bars", "lines"])
def test_short_charts(labels: list[str], kind: str) -> None:
    chart = Chart("c", labels, {"J": [0.5] * len(labels)}, kind)  # type: ignore[arg-type]
    assert all(label in Page(render_report(Report("t", charts=[chart]))).text for label in labels)


@pytest.mark.parametrize(
    ("path", "href"),
    [
        ("overlay.mp4", "overlay.mp4"),
        ("masks/a b#1?.png", "masks/a%20b%231%3F.png"),
        ("javascript:alert(1)", "javascript%3Aalert%281%29"),
        ("http://x.example/y", "http%3A//x.example/y"),
        ("/data/out.mp4", None),
        ("//x.example/y", None),
        ("C:\\out", None),
    ],
)
def test_only_relative_files_become_links(path: str, href: str | None) -> None:
    page = Page(render_report(Report("t", files={"file": path})))
    assert [a["href"] for a in page.all("a")] == ([] if href is None else [href])
    assert path in page.text


def test_empty_report_has_no_empty_sections() -> None:
    page = Page(render_report(Report("only a title", created="")))
    assert page.all("section") == []
    assert "only a title" in page.text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.81234, "0.812"),
        (np.float32(0.5), "0.500"),
        (0.0, "0.000"),
        (1e-7, "1e-07"),
        (123456.0, "1.23e+05"),
        (3, "3"),
        (np.int64(3), "3"),
        (True, "yes"),
        (None, "–"),
        (float("nan"), "–"),
        (np.float32("nan"), "–"),
        (float("inf"), "inf"),
        ("text", "text"),
    ],
)
def test_numbers_as_text(value: object, text: str) -> None:
    assert format_cell(value) == text  # type: ignore[arg-type]


def test_content_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'t'.*1 cells.*2 columns"):
        Table("t", ["a", "b"], [["x"]])
    with pytest.raises(ValueError, match=r"'c'.*'J' has 1 values for 2 labels"):
        Chart("c", ["a", "b"], {"J": [1.0]})
    with pytest.raises(ValueError, match=r"'s'.*1 captions for 2 images"):
        Strip("s", [frame(), frame()], ["one"])


def test_package_versions() -> None:
    versions = package_versions(["numpy", "no-such-package"])
    assert versions["numpy"] == np.__version__
    assert set(versions) == {"python", "numpy"}
