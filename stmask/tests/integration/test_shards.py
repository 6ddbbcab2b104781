"""Evaluation and prediction in shards: put together they are what one run gives."""

import json

import pytest

from stmask import evaluate as evaluate_module
from stmask.commands import eval as eval_command
from stmask.commands import predict
from vidseg_common.errors import UserError
from vidseg_common.video import write_image


def run(weights, config, *words, output="out"):
    fixed = [f"--trained_model={weights}", f"--config={config}", "--no_bar", "--device=cpu"]
    fixed.append(f"--mask_det_file={config.parent / output / 'r.json'}")
    eval_command.main([*fixed, *map(str, words)])
    found = [path for path in (config.parent / output).iterdir() if path.is_file()]
    return {path.name: path.read_bytes() for path in found}


def shard(count, index):
    return ("--num-shards", count, "--shard", index)


def test_shards_are_the_evaluation_at_once(weights, config, monkeypatch, capsys):
    whole = run(weights, config, output="whole")
    assert sorted(whole) == ["r.json", "r_metrics.json", "r_metrics.txt"]
    # By length: video 7 has 5 frames, video 3 has 4.
    run(weights, config, *shard(2, 0))
    folder = config.parent / "out/r.json_shards"
    assert json.loads((folder / "0-of-2/shard.json").read_text())["sequences"] == ["7"]
    merge = ("--num-shards", 2, "--merge")
    with pytest.raises(UserError, match=r"shard 1: is missing .*; run it with .* --shard 1"):
        run(weights, config, *merge)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(evaluate_module, "_frames", stop)
        with pytest.raises(KeyboardInterrupt):
            run(weights, config, *shard(2, 1))
    with pytest.raises(UserError, match="shard 1: is not finished"):
        run(weights, config, *merge)
    run(weights, config, *shard(2, 1))
    capsys.readouterr()
    assert run(weights, config, *merge, "--device=cuda") == whole
    assert "Average Precision" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"settings\.precision was 'fp32', now 'bf16'"):
        run(weights, config, *merge, "--precision=bf16")


def test_one_video_in_a_shard_goes_on(weights, config, seen, monkeypatch, capsys):
    """One shard of everything: it dies in its second video, and has not to run the first again."""
    whole = run(weights, config, output="whole")
    frames = evaluate_module._frames

    def stop_at(video_id):
        def stopping(plan, video):
            if video.id == video_id:
                raise KeyboardInterrupt
            return frames(plan, video)

        return stopping

    for video_id in (7, 3):
        with monkeypatch.context() as patch:
            patch.setattr(evaluate_module, "_frames", stop_at(video_id))
            if video_id == 7:
                with pytest.raises(KeyboardInterrupt):
                    run(weights, config, *shard(1, 0))
            else:
                run(weights, config, *shard(1, 0))
    assert run(weights, config, "--num-shards", 1, "--merge") == whole


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--display"], "--display does not go with"),
        (["--max_images=3"], "--max_images does not go with"),
        (["--shuffle"], "--shuffle without --seed does not go with"),
        (["--video=x.mp4"], "--video does not go with"),
        (["--output_json=false"], "--output_json=false does not go with"),
    ],
)
def test_what_shards_do_not_have(weights, config, capsys, words, message):
    with pytest.raises(SystemExit):
        run(weights, config, *words, *shard(2, 0))
    assert message in capsys.readouterr().err


def test_own_videos(weights, config, seen, colors, tmp_path):
    for name, length in (("one", 3), ("two", 2)):
        for t, frame in enumerate(colors.color_frames(colors.color_masks(length, 3))):
            write_image(tmp_path / "clips" / name / f"{t}.png", frame)

    def predicted(output, *words):
        argv = [tmp_path / "clips", "-o", tmp_path / output, "--model", weights, *words]
        more = ["--config", config, "--device", "cpu", "--no_overlay"]
        predict.main([*map(str, argv), *map(str, more)])
        found = [path for path in (tmp_path / output).rglob("*") if path.is_file()]
        return {path.relative_to(tmp_path / output): path.read_bytes() for path in found}

    whole = predicted("whole")
    assert len(whole) == 5 + 2 + 1
    for index in range(2):
        predicted("out", *shard(2, index))
    num_made = len(seen)
    assert predicted("out", "--num-shards", 2, "--merge") == whole
    assert len(seen) == num_made == 3
