from __future__ import annotations

import pytest

from stemseg.run_log import RunLog
from vidseg_common.errors import UserError


def test_finished_sequences_are_remembered(tmp_path):
    log = RunLog(tmp_path / "run.json", tmp_path, {"a": (1, 2), "b": {"c": 3}})
    log.add("dog", {"num_tracks": 2})
    again = RunLog(tmp_path / "run.json", tmp_path, {"a": (1, 2), "b": {"c": 3}})
    assert again.finished == {"dog": {"num_tracks": 2}}


def test_other_settings_are_refused_by_name(tmp_path):
    RunLog(tmp_path / "run.json", tmp_path, {"a": 1, "b": {"c": 3, "d": 4}}).add("dog", {})
    with pytest.raises(UserError, match=r"b\.c was 3, now 5.*--overwrite"):
        RunLog(tmp_path / "run.json", tmp_path, {"a": 1, "b": {"c": 5, "d": 4}})
    log = RunLog(tmp_path / "run.json", tmp_path, {"a": 2}, overwrite=True)
    assert not log.finished


@pytest.mark.parametrize("content", ["", "[]", '{"settings": '])
def test_a_foreign_file_is_refused(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UserError, match="not the record of a run"):
        RunLog(tmp_path / "run.json", tmp_path, {})
    RunLog(tmp_path / "run.json", tmp_path, {}, overwrite=True)
