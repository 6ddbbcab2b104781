"""Evaluation and prediction in shards: put together they are what one run gives."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from devis import evaluate as evaluate_module
from devis.commands import eval as eval_command
from devis.commands import main as main_command
from devis.commands import predict
from devis.config import load_config, model_settings, to_dict
from devis.model import build
from vidseg_common.errors import ConfigError, UserError
from vidseg_common.synthetic_cli import generate_videos
from vidseg_common.synthetic_layouts import write_layout
from vidseg_common.video import write_image

TINY = Path(__file__).parents[1] / "tiny_train.yaml"
LENGTHS = (5, 1, 9)
CLIPS = ("MODEL.DEVIS.NUM_FRAMES", 3, "TEST.CLIP_TRACKING.STRIDE", 2)
IMAGES = (
    *("DATASETS.TYPE", "coco", "DATASETS.TRAIN_DATASET", "train", "DATASETS.VAL_DATASET", "val"),
    *("SOLVER.BATCH_SIZE", 4, "TEST.NUM_OUT", 5),
)


@pytest.fixture
def data(tmp_path, one_thread):
    """Three videos, and six images."""
    made = [next(iter(generate_videos(9 + n, 1, n, 48, 64, 2))) for n in LENGTHS]
    write_layout("ytvis", made, tmp_path / "data" / "Youtube_VIS-2021", split="val")
    write_layout("coco", generate_videos(3, 2, 3, 48, 64, 2), tmp_path / "data/COCO", split="val")
    return tmp_path / "data"


def checkpoint(path, words):
    torch.manual_seed(0)
    cfg = load_config(TINY, list(map(str, words)))
    state = build(model_settings(cfg)).state_dict()
    torch.save({"model": state, "cfg": to_dict(cfg)}, path)
    return path


def shard(count, index):
    return ("--num-shards", str(count), "--shard", str(index))


def contents(folder):
    """Every file but archives, which have times and temporary names of files in them."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    kept = [path for path in found if path.suffix not in (".zip", ".pth")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in kept}


@pytest.mark.parametrize(("words", "of_first"), [(CLIPS, 1), (IMAGES, 4)])
def test_shards_are_the_evaluation_at_once(data, words, of_first, monkeypatch, capsys):
    file, out = checkpoint(data.parent / "tiny.pth", words), data.parent / "out"
    keys = ["DATASETS.DATA_PATH", data, "OUTPUT_DIR", out, "MODEL.WEIGHTS", file, *words]

    def run(*flags):
        fixed = ["--config-file", TINY, "--device", "cpu", "--workers", "1"]
        eval_command.main(list(map(str, [*fixed, *flags, *keys])))

    run()
    whole = contents(out)
    assert "eval_results/results.json" in whole and len(whole) >= 3
    shutil.rmtree(out)
    run(*shard(2, 0))
    folder = out / "eval_results_shards"
    assert contents(out).keys() & whole.keys() == set()
    plan = json.loads((folder / "0-of-2" / "shard.json").read_text())
    assert len(plan["sequences"]) == of_first
    merge = ("--num-shards", "2", "--merge")
    with pytest.raises(UserError, match=r"shard 1: is missing .*; run it with .* --shard 1"):
        run(*merge)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(evaluate_module, "_batches" if words == IMAGES else "_frames", stop)
        run(*shard(2, 1))
    with pytest.raises(UserError, match="shard 1: is not finished"):
        run(*merge)
    run(*shard(2, 1))
    capsys.readouterr()
    main_command.main(["--config-file", str(TINY), "--eval-only", *merge, *map(str, keys)])
    assert "Average Precision" in capsys.readouterr().out
    found = contents(out)
    assert {name: found[name] for name in whole} == whole
    assert all(name.startswith("eval_results_shards/") for name in found.keys() - whole.keys())
    keys += ["TEST.NUM_OUT", "2"]
    with pytest.raises(UserError, match=r"settings\.TEST\.NUM_OUT was"):
        run(*merge)


def test_what_shards_do_not_have(data):
    words = ["--config-file", str(TINY), "--device", "cpu", "MODEL.WEIGHTS", "x.pth"]
    with pytest.raises(ConfigError, match="VIDEO_NAMES does not go with --num-shards"):
        eval_command.main([*words, "TEST.VIZ.VIDEO_NAMES", "a", *shard(2, 0)])
    with pytest.raises(UserError, match="--num-shards goes with --eval-only"):
        main_command.main([*words, *shard(2, 0)])


def test_own_videos(tmp_path, one_thread):
    file = checkpoint(tmp_path / "tiny.pth", ())
    rng = np.random.default_rng(0)
    for name, length in (("one", 4), ("two", 3)):
        for t in range(length):
            frame = rng.integers(0, 256, (48, 64, 3), np.uint8)
            write_image(tmp_path / "clips" / name / f"{t}.png", frame)

    def predicted(output, *words):
        argv = [tmp_path / "clips", "-o", tmp_path / output, "--model", file, "--no-overlay"]
        more = ["--device", "cpu", "--score-threshold", "0", *words, "--opts", "TEST.NUM_OUT", "2"]
        predict.main([*map(str, argv), *more])
        return contents(tmp_path / output)

    whole = predicted("whole")
    assert len(whole) == 7 + 2 + 1
    for index in range(2):
        predicted("out", *shard(2, index))
    assert predicted("out", "--num-shards", "2", "--merge") == whole
