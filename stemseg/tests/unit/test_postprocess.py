from __future__ import annotations

import numpy as np
import pytest

from stemseg.commands.filter_mots import main
from stemseg.outputs.kitti_mots import format_lines
from stemseg.outputs.postprocess import ClassFilter, Filters, filter_objects, read_objects
from vidseg_common import rle
from vidseg_common.datasets.mots_files import MotsObject
from vidseg_common.errors import DatasetError

LOOSE = ClassFilter(1, 0.0, 1.0, 1)


def found(frame, track_id, *, rows=10, columns=20):
    mask = np.zeros((40, 60), bool)
    mask[:rows, :columns] = True
    return MotsObject(frame, track_id, track_id // 1000, rle.encode(mask))


def frames_of(objects, **limits):
    kept = filter_objects(objects, Filters(ClassFilter(**{**vars(LOOSE), **limits}), LOOSE))
    return [(x.track_id, x.frame) for x in kept]


def test_small_masks_go():
    objects = [found(0, 1001), found(1, 1001, rows=2), found(2, 1001)]
    assert frames_of(objects, min_area=200) == [(1001, 0), (1001, 2)]


def test_empty_masks_go_always():
    assert frames_of([found(0, 1001, rows=0)], min_area=0) == []


def test_sparse_masks_go():
    mask = np.zeros((40, 60), bool)
    mask[0], mask[:, 0] = True, True
    sparse = MotsObject(0, 1001, 1, rle.encode(mask))
    assert frames_of([sparse, found(0, 1002)], min_area_ratio=0.35) == [(1002, 0)]


def test_broken_tracks_go():
    broken = [found(t, 1001) for t in (0, 2, 4, 5)]
    steady = [found(t, 1002) for t in (0, 1, 5, 6)]
    kept = frames_of([*broken, *steady], max_time_break_ratio=0.3)
    assert {track for track, _ in kept} == {1002}


def test_short_tracks_go_after_small_masks():
    objects = [found(0, 1001), found(1, 1001), found(2, 1001, rows=1), found(5, 1002)]
    assert frames_of(objects, min_area=100, min_track_length=3) == []
    assert len(frames_of(objects, min_area=1, min_track_length=3)) == 3


def test_tracks_come_in_the_order_they_are_first_written_and_sorted_by_frame():
    objects = [found(3, 1002), found(0, 1001), found(1, 1002)]
    assert frames_of(objects) == [(1002, 1), (1002, 3), (1001, 0)]


def test_persons_have_limits_of_their_own():
    cars, persons = [found(t, 1001) for t in range(5)], [found(t, 2001) for t in range(5)]
    kept = filter_objects([*cars, *persons], Filters())
    assert {x.track_id for x in kept} == {1001}


def test_command_filters_every_file(tmp_path, capsys):
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "0002.txt").write_text(format_lines([found(t, 1001) for t in range(3)]))
    (folder / "0006.txt").write_text("")
    (folder / "notes.text").write_text("no result file")
    assert main([str(folder), "--min_track_length_car", "2", "--suffix", "_x"]) == 0
    target = tmp_path / "results_x"
    assert capsys.readouterr().out == f"2 files in {target}\n"
    assert sorted(path.name for path in target.iterdir()) == ["0002.txt", "0006.txt"]
    assert len(read_objects(target / "0002.txt")) == 3
    assert main([str(folder), "-mtlc", "4"]) == 0
    assert (tmp_path / "results_nms" / "0002.txt").read_text() == ""


def test_malformed_lines_are_named(tmp_path):
    (tmp_path / "0002.txt").write_text("0 1001 1 40 60\n")
    with pytest.raises(DatasetError, match=r"0002\.txt: line 1: expected `frame track"):
        main([str(tmp_path)])


def test_folders_without_results_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="no such folder"):
        main([str(tmp_path / "absent")])
    with pytest.raises(DatasetError, match="holds no result files"):
        main([str(tmp_path)])
