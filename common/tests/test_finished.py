"""The file that lets an interrupted evaluation go on."""

import pytest

from vidseg_common.finished import FinishedVideos

SETTINGS = {"weights": "abc", "sizes": [1, 2]}
ENTRIES = [{"video_id": 4, "score": 0.5, "segmentations": [None, {"size": [1, 2], "counts": "x"}]}]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "r.finished.jsonl"
    with FinishedVideos(path, SETTINGS) as finished:
        assert len(finished) == 0 and not finished.changed
        finished.add(4, ENTRIES)
        finished.add(2, [])
    return path


def test_results_are_found_again(path):
    with FinishedVideos(path, SETTINGS) as finished:
        assert len(finished) == 2
        assert 4 in finished and 2 in finished and 3 not in finished
        assert finished.entries(4) == ENTRIES and finished.entries(2) == []
        finished.add(3, ENTRIES)
        assert finished.entries(3) == finished.entries(4) == ENTRIES
    with FinishedVideos(path, SETTINGS) as finished:
        assert len(finished) == 3
        finished.remove()
    assert not path.exists()


@pytest.mark.parametrize("rest", [b'{"video_id": 9, "ent', b"\xff\xfe\n"])
def test_what_a_killed_run_left_half_done_is_forgotten(path, rest):
    with path.open("ab") as file:
        file.write(rest)
    with FinishedVideos(path, SETTINGS) as finished:
        assert len(finished) == 2
        finished.add(9, ENTRIES)
    with FinishedVideos(path, SETTINGS) as finished:
        assert finished.entries(9) == ENTRIES and len(finished) == 3


def test_other_settings_begin_anew(path):
    with FinishedVideos(path, {**SETTINGS, "weights": "x", "new": 1}) as finished:
        assert finished.changed == ["new", "weights"] and len(finished) == 0
    with FinishedVideos(path, SETTINGS) as finished:
        assert len(finished) == 0


def test_a_file_of_something_else_is_begun_anew(path):
    path.write_bytes(b"hello")
    with FinishedVideos(path, SETTINGS) as finished:
        assert len(finished) == 0
        finished.add(1, [])
    with FinishedVideos(path, SETTINGS) as finished:
        assert 1 in finished
