"""Evaluation and prediction in shards, and after an interruption: as in one run."""

import json
import shutil

import pytest
import torch

from vatrack import evaluate
from vatrack.checkpoint import make_meta, write_checkpoint
from vatrack.commands import predict
from vatrack.commands import test as command
from vatrack.config import load_config, model_settings
from vatrack.model import build
from vidseg_common.errors import UserError
from vidseg_common.synthetic_cli import generate_videos
from vidseg_common.synthetic_layouts import write_layout


@pytest.fixture
def weights(tmp_path):
    cfg = load_config("overfit")
    torch.manual_seed(0)
    path = tmp_path / "tiny.pth"
    write_checkpoint(path, build(model_settings(cfg)), make_meta(epoch=1, iteration=1))
    return path


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Three videos, of 3, 2 and 1 frames, with two objects each."""
    videos = [next(iter(generate_videos(5 + n, 1, n, 64, 96, 2))) for n in (3, 2, 1)]
    write_layout("sailvos", videos, tmp_path / "data", split="valid")
    monkeypatch.setenv("VATRACK_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def shard(count, index):
    return ("--num-shards", count, "--shard", index)


def files(folder):
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def stop_at(monkeypatch, number):
    """A run that ends like one that is killed, when its video of a number begins."""
    results, begun = evaluate._results, []

    def stopping(run, predictor, video):
        begun.append(video.id)
        if len(begun) == number:
            raise KeyboardInterrupt
        return results(run, predictor, video)

    monkeypatch.setattr(evaluate, "_results", stopping)
    return begun


def test_shards_are_the_evaluation_at_once(data, weights, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"

    def run(*more):
        base = ["--config", "overfit", "--checkpoint", weights, "--out", out / "r.pkl"]
        fixed = [*base, "--workers", 1, "--num-workers", 0, "--detections", *more]
        command.main([str(word) for word in fixed])

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, 3)
        run("--device", "cpu")
    with monkeypatch.context() as patch:
        begun = stop_at(patch, 0)
        run("--device", "cpu")
    assert len(begun) == 1
    assert "2 video(s) were finished by an interrupted run" in capsys.readouterr().out
    whole = files(out)
    assert {"r.pkl", "r.json"} < whole.keys() and not any("finished" in name for name in whole)
    shutil.rmtree(out)
    run("--device", "cpu")
    assert files(out) == whole
    shutil.rmtree(out)

    run("--device", "cpu", *shard(2, 0))
    merge = ("--num-shards", 2, "--merge", "--device", "cuda")
    with pytest.raises(UserError, match=r"shard 1: is missing .*; run it with .* --shard 1"):
        run(*merge)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, 2)
        run("--device", "cpu", *shard(2, 1))
    with pytest.raises(UserError, match="shard 1: is not finished"):
        run(*merge)
    with monkeypatch.context() as patch:
        begun = stop_at(patch, 0)
        run("--device", "cpu", *shard(2, 1))
    assert len(begun) == 1
    run(*merge)
    shards = out / "r.pkl_shards"
    plan = json.loads((shards / "1-of-2" / "shard.json").read_text())
    assert plan["finished"] and len(plan["sequences"]) == 2
    kept = shards / "0-of-2" / "results" / "r.finished.jsonl"
    kept.write_text(kept.read_text().splitlines()[0] + "\n")
    with pytest.raises(UserError, match=r"shard 0: it has no results of video .*; remove"):
        run(*merge)
    with pytest.raises(UserError, match=r"settings\.precision was 'fp32', now 'bf16'"):
        run(*merge, "--precision", "bf16")
    shutil.rmtree(shards)
    assert files(out) == whole
    with pytest.raises(SystemExit):
        run("--show", *shard(2, 0))
    assert "--show does not go with --num-shards" in capsys.readouterr().err


def test_own_videos(data, weights, tmp_path):
    for n, folder in enumerate(sorted((data / "sailvos_cut_png").iterdir())[:2]):
        shutil.copytree(folder / "images", tmp_path / "clips" / f"clip{n}")

    def predicted(output, *words):
        argv = [tmp_path / "clips", "-o", tmp_path / output, "--checkpoint", weights]
        more = ["--config", "overfit", "--device", "cpu", "--no-overlay", "--max-frames", 2]
        predict.main([str(word) for word in (*argv, *more, *words)])
        return files(tmp_path / output)

    whole = predicted("whole")
    for index in range(2):
        predicted("out", *shard(2, index))
    assert predicted("out", "--num-shards", 2, "--merge") == whole
    assert "clip0/result.json" in whole and "videos.json" in whole
