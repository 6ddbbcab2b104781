"""Streaming of large JSON files: the same values as `json.load`, and errors that name the line."""

from __future__ import annotations

import io
import json
import math
import tracemalloc
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidseg_common.datasets import json_stream
from vidseg_common.datasets.json_stream import ROOT, iter_entries, iter_items
from vidseg_common.errors import DatasetError

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(), part, max_size=3),
    max_leaves=12,
)


class Trickle(io.BytesIO):
    """Gives a few bytes at a time, so that every place of a file becomes the end of a window."""

    step = 1

    def read(self, size: int | None = -1) -> bytes:
        return super().read(self.step)


def _rebuilt(source, keys):
    found = {}
    for entry in iter_entries(source, keys):
        if entry.position is None:
            assert entry.key not in found
            found[entry.key] = entry.value
        else:
            assert entry.position == len(found.setdefault(entry.key, []))
            found[entry.key].append(entry.value)
    return found


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), VALUES, max_size=4),
    st.integers(1, 9),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_equals_json_load_at_every_cut(content, step, indent, ascii_only):
    source = Trickle(json.dumps(content, indent=indent, ensure_ascii=ascii_only).encode())
    source.step = step
    assert _rebuilt(source, list(content)) == content


@given(st.lists(VALUES, max_size=5), st.integers(1, 9))
def test_a_list_at_the_top(content, step):
    source = Trickle(json.dumps(content).encode())
    source.step = step
    assert _rebuilt(source, [ROOT])[ROOT] == content


def test_items_in_file_order_and_unwanted_keys_skipped(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(
        '\ufeff{"x": [1, {"videos": 3}], "videos": [{"id": 1}, null], "info": {"a": 1.5},\n'
        ' "empty": [], "annotations": null, "y": "videos"}\n',
        encoding="utf-8",
    )
    keys = ["videos", "info", "empty", "annotations", "absent"]
    assert list(iter_items(path, keys)) == [
        ("videos", {"id": 1}),
        ("videos", None),
        ("info", {"a": 1.5}),
        ("annotations", None),
    ]
    whole = [tuple(entry) for entry in iter_entries(path, ["empty", "annotations"])]
    assert whole == [("empty", None, []), ("annotations", None, None)]


def test_nan_and_infinity_are_read_as_python_writes_them(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": [NaN, [Infinity], {"x": -Infinity}, 1e5]}')
    values = [value for _, value in iter_items(path, ["a"])]
    assert math.isnan(values[0])
    assert values[1:] == [[math.inf], {"x": -math.inf}, 1e5]


def test_reads_a_member_of_a_zip(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("results.json", json.dumps([{"score": 0.5}]))
    with zipfile.ZipFile(path) as archive, archive.open("results.json") as handle:
        assert [tuple(e) for e in iter_entries(handle, [ROOT])] == [(ROOT, 0, {"score": 0.5})]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: expected an object.*cut off"),
        ("[1]", "expected an object"),
        ("3", "expected an object"),
        ('{"a": [1,\n 2', r"line 2, column 3: expected \",\" or \"\]\" \(the file is cut off"),
        ('{"a": [1,\n {"b": tru', "line 2, column 8: item 2 of 'a': Expecting value"),
        ('{"a": [1,\n {"b": "xy', "item 2 of 'a': Unterminated string.*cut off"),
        ('{"a": [1, 2,]}', "line 1, column 13: item 3 of 'a': Expecting value"),
        ('{"a": [1 2]}', 'column 10: expected ","'),
        ('{"a" 1}', 'expected ":"'),
        ("{a: 1}", "expected a key in double quotes"),
        ('{"a": 1,}', "expected a key in double quotes"),
        ('{"a": 1} x', "text after the end"),
        ('{"a": 1, "a": 2}', "the key 'a' occurs twice"),
        ('{"a": ' + "[" * 100_000, "recursion"),
        ('{"a": ' + "9" * 5000 + "}", "the value of 'a'"),
    ],
)
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_bad_files_are_named_with_line_and_column(tmp_path, monkeypatch, text, message, step):
    path = tmp_path / "a.json"
    path.write_text(text)
    monkeypatch.setattr(json_stream, "_CHUNK", step)
    with pytest.raises(DatasetError, match=f"a.json.*{message}"):
        list(iter_entries(path, ["a"]))


@pytest.mark.parametrize("keys", [[ROOT], ["a", ROOT]])
def test_an_object_where_a_list_is_wanted(tmp_path, keys):
    path = tmp_path / "a.json"
    path.write_text('"text"')
    with pytest.raises(DatasetError, match="expected a"):
        list(iter_entries(path, keys))
    path.write_text('{"a": 1}')
    if keys == [ROOT]:
        with pytest.raises(DatasetError, match="expected a list at the top"):
            list(iter_entries(path, keys))


def test_not_text_missing_or_a_folder(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'{"a": "\xff\xfe"}')
    with pytest.raises(DatasetError, match="not a JSON file in UTF-8"):
        list(iter_items(path, ["a"]))
    for missing in (tmp_path / "b.json", tmp_path):
        with pytest.raises(DatasetError, match="JSON file not found"):
            list(iter_items(missing, ["a"]))


def test_a_list_of_many_items_is_never_held(tmp_path):
    path = tmp_path / "a.json"
    item = json.dumps({"counts": list(range(2000))})
    path.write_text('{"a": [' + ",".join([item] * 2000) + '], "b": [1]}')
    assert path.stat().st_size > 15e6
    tracemalloc.start()
    assert list(iter_items(path, ["b"])) == [("b", 1)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12e6


def test_an_item_longer_than_the_window(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "_CHUNK", 64)
    path = tmp_path / "a.json"
    content = {"a": ["x" * 5000, list(range(3000)), {"k": "é\ud83d\ude00" * 100}]}
    path.write_text(json.dumps(content))
    assert [value for _, value in iter_items(path, ["a"])] == json.loads(path.read_text())["a"]


def test_the_bar_counts_bytes(tmp_path, capsys):
    path = tmp_path / "long_name.json"
    path.write_text('{"a": [1]}')
    assert list(iter_items(path, ["a"], progress=True)) == [("a", 1)]
    assert "long_name.json" in capsys.readouterr().err
