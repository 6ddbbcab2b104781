"""The committed documents equal what docs/update_tables.py makes of the recorded numbers."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    yield importlib.import_module("update_tables")
    modules = ("update_tables", "flag_tables", "command_flags", "curve", "records")
    for name in (*modules, "stemseg_tables", "stmask_tables", "table_text"):
        sys.modules.pop(name, None)


def test_the_documents_are_up_to_date(tables: ModuleType) -> None:
    stale = [
        path.relative_to(ROOT).as_posix()
        for path, text in tables.generate(ROOT).items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    assert not stale, "run `make tables`"


def test_every_table_stands_in_a_document(tables: ModuleType) -> None:
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in tables.DOCUMENTS]
    used = {found[2] for text in texts for found in tables.MARKED.finditer(text)}
    flags = importlib.import_module("flag_tables")
    assert used == {*tables.TABLES, *flags.COMMAND_TABLES, *flags.GROUP_TABLES}


def test_every_marker_is_closed(tables: ModuleType) -> None:
    for name in tables.DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        assert text.count("<!-- table:") == text.count("<!-- end -->")
        assert text.count("<!-- table:") == len(tables.MARKED.findall(text))


def test_without_records_every_table_says_so(tables: ModuleType, tmp_path: Path) -> None:
    records = tables.Records(tmp_path)
    for make in tables.TABLES.values():
        assert "not measured" in make(records).lower()


def test_a_section_that_was_not_run_says_so(tables: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / tables.RESULTS
    folder.mkdir(parents=True)
    row = {"dtype": "fp32", "convolutions_s_per_frame": 1.25}
    bench = {"machine": "m", "torch": "2", "video": "v", "limit": [row], "gpu": []}
    (folder / "stcn.json").write_text(json.dumps(bench))
    records = tables.Records(tmp_path)
    assert "| fp32 | 1.250 |" in tables.limit(records)
    assert "not measured" in tables.read(records)
    assert "no GPU" in tables.gpu(records)


def test_tables_are_replaced_and_the_rest_is_kept(tables: ModuleType, tmp_path: Path) -> None:
    text = "before\n<!-- table:gpu -->\nold\n<!-- end -->\nafter\n"
    new = tables.filled(text, tables.Records(tmp_path), "x.md")
    assert new.startswith("before\n<!-- table:gpu -->\n") and new.endswith("<!-- end -->\nafter\n")
    assert "old" not in new
    assert tables.filled(new, tables.Records(tmp_path), "x.md") == new


def test_an_unknown_table_is_an_error(tables: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no table 'nothing'"):
        tables.filled("<!-- table:nothing -->\n<!-- end -->", tables.Records(tmp_path), "x.md")


def test_the_curve_is_the_same_every_time(tables: ModuleType) -> None:
    log = tables.Records(ROOT).training_log()
    assert log and log == sorted(log, key=lambda row: row["step"])
    curve = tables.curve_svg(log)
    assert curve == tables.curve_svg(log) and curve.count("<polyline") == 2
