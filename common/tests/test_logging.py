import datetime
import io
import json
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch

from vidseg_common.logging import RunLogger, git_description, read_jsonl, run_name


def test_jsonl_console_and_resume(tmp_path):
    console = io.StringIO()
    with RunLogger(tmp_path / "log", "run", tensorboard=False, stream=console) as log:
        log.scalar("train/loss", torch.tensor(0.5), 1)
        log.scalars({"a": 1, "b": float("nan")}, 2)
        log.text("config", "lr: 1\nsteps: 2")
        log.line("hello")
        # Readable while the run still goes on.
        assert len(read_jsonl(tmp_path / "log" / "run.jsonl")) == 4
    with RunLogger(tmp_path / "log", "run", tensorboard=False, console=False) as log:
        log.scalar("train/loss", 0.25, 3)
    lines = (tmp_path / "log" / "run.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["kind"] for record in records] == [
        *("scalars", "scalars", "text", "line", "scalars")
    ]
    assert records[0]["values"] == {"train/loss": 0.5}
    assert records[1]["values"] == {"a": 1.0, "b": "nan"}
    assert records[4]["step"] == 3
    assert console.getvalue() == "run - hello\n"


def test_line_cut_off_by_a_crash(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text('{"kind": "line", "message": "a"}\n{"kind": "li')
    with RunLogger(tmp_path, "run", tensorboard=False, console=False) as log:
        log.line("b")
    assert [record["message"] for record in read_jsonl(path)] == ["a", "b"]
    assert read_jsonl(tmp_path / "none.jsonl") == []


def test_nothing_without_folder_or_on_other_ranks(tmp_path, capsys):
    for log in (RunLogger(None, "run"), RunLogger(tmp_path / "log", "run", rank=1)):
        log.scalar("a", 1, 1)
        log.image("i", np.zeros((2, 2, 3), np.uint8), 1)
        log.text("t", "x")
        log.line("shown" if log.name == "run" else "")
        log.close()
    assert not (tmp_path / "log").exists()
    assert capsys.readouterr().out == "run - shown\n", "only rank 0 speaks"


def test_tensorboard_events(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with RunLogger(tmp_path, "run", console=False) as log:
        for step in range(3):
            log.scalar("train/loss", step / 2, step)
        log.image("pairs", np.full((4, 6, 3), 200, np.uint8), 2)
        log.text("git", "main\nabc")
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.value for event in events.Scalars("train/loss")] == [0.0, 0.5, 1.0]
    assert (events.Images("pairs")[0].width, events.Images("pairs")[0].height) == (6, 4)
    text = events.Tensors("git/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "main\nabc" in text


def test_bad_image(tmp_path):
    with pytest.raises(ValueError, match="uint8"):
        RunLogger(None, "run").image("x", np.zeros((2, 2)), 0)


def git(folder, *words):
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


def test_git_description(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_description(tmp_path) == "unknown"
    git(tmp_path, "init", "-b", "work")
    git_description.cache_clear()
    assert git_description(tmp_path) == "unknown"
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-m", "first")
    git_description.cache_clear()
    branch, commit = git_description(tmp_path).split()
    assert branch == "work"
    assert len(commit) >= 7
    git(tmp_path, "checkout", "--detach")
    (tmp_path / "a").write_text("2")
    git_description.cache_clear()
    assert git_description(tmp_path) == f"detached {commit} (modified)"
    git_description.cache_clear()
    monkeypatch.setenv("PATH", "")
    assert git_description(tmp_path) == "unknown"
    git_description.cache_clear()


def test_run_name():
    now = datetime.datetime(2021, 3, 4, 5, 6, 7)
    assert run_name("ID", now=now) == "Mar04_05.06.07_ID"


def test_standard_logging_is_not_shadowed():
    code = "import vidseg_common.logging, logging; logging.getLogger('x').warning('fine')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "fine"
    assert hasattr(logging, "getLogger")
