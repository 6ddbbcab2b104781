"""Evaluation and prediction in shards: put together they are what one run gives."""

import shutil

import pytest

from stcn.commands import eval_davis, eval_generic, eval_youtube, ms, predict
from vidseg_common.errors import UserError
from vidseg_common.masks import write_mask
from vidseg_common.video import write_image


def content(folder, but=()):
    """Every file below a folder with its bytes."""
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if path.name not in but}


def shard_words(count, index):
    return ("--num-shards", count, "--shard", index)


def test_davis_in_shards_is_davis_at_once(tool, davis, tmp_path, weights):
    words = ("--davis_path", davis, "--workers", 1)
    tool(eval_davis.main_2017, *words, output="whole")
    assert "1 of 3 sequences" in tool(eval_davis.main_2017, *words, *shard_words(2, 0))
    merge = [*map(str, words), "--num-shards", "2", "--merge", "--output", str(tmp_path / "out")]
    with pytest.raises(
        UserError, match=r"1 of 2 shards .*\n.*run it with --num-shards 2 --shard 1"
    ):
        eval_davis.main_2017([*merge, "--model", str(weights)])
    assert not (tmp_path / "out").exists()
    # A shard that died: it goes on after the video that it has finished.
    tool(eval_davis.main_2017, *words, *shard_words(2, 1))
    folder = tmp_path / "out_shards/1-of-2"
    plan = folder / "shard.json"
    plan.write_text(plan.read_text().replace('"finished": true', '"finished": false'))
    shutil.rmtree(folder / "results/out/bee")
    again = tool(eval_davis.main_2017, *words, *shard_words(2, 1))
    assert "1 videos were finished before" in again and "Total processed frames: 4" in again
    assert "is finished; remove" in tool(eval_davis.main_2017, *words, *shard_words(2, 1))
    out = tool(eval_davis.main_2017, *words, "--num-shards", 2, "--merge")
    assert "Total processed frames: 15" in out and "J&F-Mean" in out
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    metrics = [content(tmp_path / f"{name}_metrics", but=["run.json"]) for name in ("out", "whole")]
    assert metrics[0] == metrics[1]
    assert len(metrics[0]) == 3
    # What is merged is a finished run.
    assert "3 videos were finished before" in tool(eval_davis.main_2017, *words)
    with pytest.raises(UserError, match=r"of another run \(settings\.top was 20, now 3"):
        eval_davis.main_2017([*merge, "--model", str(weights), "--top", "3"])
    (folder / "results/out/ant/00003.png").unlink()
    with pytest.raises(UserError, match=r"shard 1: there is no .*00003\.png; remove .*--shard 1"):
        eval_davis.main_2017([*merge, "--model", str(weights)])


@pytest.mark.parametrize(
    ("main", "flag", "scored"),
    [
        (eval_youtube.main, "--yv_path", True),
        (ms.main_eval, "--yv_path", False),
        (eval_generic.main, "--data_path", True),
    ],
)
def test_other_tools(tool, youtube, generic, tmp_path, main, flag, scored):
    root = youtube if flag == "--yv_path" else generic
    words = [flag, root, "--size", 32, "--workers", 1]
    words += ["--ground_truth", root / "truth"] if scored else []
    # A video without any object is passed over, in whatever shard it is.
    for path in (youtube / "valid/Annotations/early").iterdir():
        path.unlink()
    tool(main, *words, output="whole")
    for index in range(3):
        tool(main, *words, *shard_words(3, index))
    out = tool(main, *words, "--num-shards", 3, "--merge")
    assert ("skipped early" in out) == (root == youtube)
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    metrics = [content(tmp_path / f"{name}_metrics", but=["run.json"]) for name in ("out", "whole")]
    assert metrics[0] == metrics[1] and bool(metrics[0]) == scored


def test_own_videos(tmp_path, weights, make_video):
    for name, length in (("one", 4), ("two", 3), ("three", 3)):
        frames, labels = make_video(length, 48, 64, (1, 5))
        for t, frame in enumerate(frames):
            write_image(tmp_path / "clips" / name / f"{t:05d}.jpg", frame)
        write_mask(tmp_path / "masks" / f"{name}.png", labels[0])

    def run(output, *words):
        argv = [tmp_path / "clips", "--mask", tmp_path / "masks", "-o", tmp_path / output]
        predict.main([*map(str, argv), "--model", str(weights), "--no-overlay", *map(str, words)])
        return content(tmp_path / output, but=["result.json"])

    whole = run("whole")
    assert len(whole) == 10 + 1
    for index in range(2):
        run("out", *shard_words(2, index))
    assert run("out", "--num-shards", 2, "--merge") == whole
    assert (tmp_path / "out/three/result.json").is_file()
    (tmp_path / "masks/two.png").unlink()
    with pytest.raises(UserError, match=r"1 of 3 videos have no results:\n.*expected .*two\.png"):
        run("whole")
