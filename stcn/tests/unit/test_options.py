"""Flags that the tools share."""

import pytest
import torch

from stcn.commands.common import check_names, metrics_folder
from stcn.options import (
    add_model_flags,
    add_output_flags,
    add_size_flag,
    amp_mode,
    build_policy,
    build_predictor,
    result_settings,
)
from vidseg_common.config import ArgumentParser
from vidseg_common.errors import CheckpointError, DatasetError, UserError


def parse(*words, weights=None):
    parser = ArgumentParser("tool")
    add_output_flags(parser)
    add_model_flags(parser)
    add_size_flag(parser, 480)
    model = [] if weights is None else ["--model", str(weights)]
    return parser.parse_args(["--output", "out", *model, *map(str, words)])


def test_defaults_are_the_published_settings():
    args = parse()
    policy = build_policy(args)
    assert (policy.top_k, policy.mem_every, policy.include_last) == (20, 5, False)
    assert (policy.max_frames, policy.kernel_sigma, args.size) == (None, None, 480)
    assert str(args.model) == "saves/stcn.pth"


def test_flags_reach_the_policy():
    args = parse(
        *("--top", 7, "--mem_every", 3, "--include_last", "--max-memory-frames", 9),
        *("--read-mb", 0.5),
    )
    policy = build_policy(args, kernel_sigma=7.0)
    assert (policy.top_k, policy.mem_every, policy.include_last) == (7, 3, True)
    assert (policy.max_frames, policy.chunk_mb, policy.kernel_sigma) == (9, 0.5, 7.0)
    bank = policy.new_bank()
    assert (bank.top_k, bank.max_frames, bank.chunk_mb, bank.kernel_sigma) == (7, 9, 0.5, 7.0)


@pytest.mark.parametrize(
    "words",
    [
        ("--top", "0"),
        ("--mem_every", "-1"),
        ("--mem_every", "2.5"),
        ("--max-memory-frames", "0"),
        ("--read-mb", "0"),
        ("--read-mb", "nan"),
        ("--read-mb", "much"),
        ("--size", "8"),
        ("--size", "-480"),
        ("--workers", "0"),
        ("--rgb_masks", "guess"),
    ],
)
def test_impossible_values_are_refused_with_the_flag(words, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(*words)
    message = capsys.readouterr().err
    assert caught.value.code == 2
    assert "error: argument" in message
    assert words[0] in message
    assert message.count("\n") == 1


def test_unknown_flag_names_the_nearest(capsys):
    with pytest.raises(SystemExit) as caught:
        parse("--mem_evry", "3")
    assert caught.value.code == 2
    assert "unknown flag --mem_evry; did you mean --mem_every?" in capsys.readouterr().err


def test_predictor_of_flags(weights):
    args = parse("--device", "cpu", "--mem_every", 2, weights=weights)
    predictor = build_predictor(args, size=0, amp=True, kernel_sigma=7.0)
    assert predictor.size is None
    assert predictor.engine.network.dtype == torch.bfloat16
    assert predictor.engine.policy.mem_every == 2
    assert predictor.engine.policy.kernel_sigma == 7.0


def test_missing_weights_say_how_to_get_them(tmp_path):
    args = parse(weights=tmp_path / "stcn.pth")
    with pytest.raises(CheckpointError, match=r"stcn\.pth: no such weights file; .*download_model"):
        build_predictor(args, size=None, amp=False)


def test_unknown_device(weights):
    with pytest.raises(UserError, match="warp"):
        build_predictor(parse("--device", "warp", weights=weights), size=None, amp=False)


@pytest.mark.parametrize(
    ("enabled", "device", "mode"),
    [(False, "cuda", "off"), (True, "cuda", "fp16"), (True, "cpu", "bf16"), (False, "cpu", "off")],
)
def test_mixed_precision_of_a_device(enabled, device, mode):
    assert amp_mode(enabled, torch.device(device)) == mode


def test_settings_follow_the_content_of_the_weights(weights, tmp_path):
    copy = tmp_path / "renamed.pth"
    copy.write_bytes(weights.read_bytes())
    first = result_settings(parse(weights=weights), amp=True)
    assert result_settings(parse(weights=copy), amp=True) == first
    copy.write_bytes(b"other")
    assert result_settings(parse(weights=copy), amp=True) != first
    assert result_settings(parse("--top", 5, weights=weights), amp=True)["top"] == 5
    # What only says where and how fast does not count.
    same = parse("--device", "cpu", "--read-mb", 1, "--workers", 7, weights=weights)
    assert result_settings(same, amp=True) == first


@pytest.mark.parametrize(
    ("output", "wanted"), [("out", "out_metrics"), ("a/b", "a/b_metrics"), ("a/", "a_metrics")]
)
def test_metrics_lie_beside_the_results(tmp_path, output, wanted):
    assert metrics_folder(tmp_path / output) == tmp_path / wanted


def test_metrics_of_the_current_folder(tmp_path, monkeypatch):
    inner = tmp_path / "here" / "below"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    relative = type(tmp_path)
    assert metrics_folder(relative(".")) == tmp_path / "here" / "below_metrics"
    assert metrics_folder(relative("..")) == tmp_path / "here_metrics"


def test_chosen_names(tmp_path):
    present = ["ant", "bee", "cat"]
    assert check_names(None, present, tmp_path) == present
    assert check_names(["cat", "ant", "cat"], present, tmp_path) == ["ant", "cat"]
    with pytest.raises(DatasetError) as caught:
        check_names(["bee", "cta", "zebra"], present, tmp_path)
    assert "cta; did you mean cat?" in str(caught.value)
    assert "zebra\n" in f"{caught.value}\n"
    assert "bee" not in str(caught.value)
