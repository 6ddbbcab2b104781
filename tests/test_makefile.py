"""The Makefile: help, dry runs of every target, and when the environment is made anew."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = sorted(
    {name for line in re.findall(r"^\.PHONY: (.*)", MAKEFILE, re.M) for name in line.split()}
)

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


#: `make test` hands its own variables down, which would change what is tested here.
ENVIRONMENT = {
    key: value
    for key, value in os.environ.items()
    if not key.startswith(("MAKE", "MFLAGS")) and key not in ("VENV", "PYTHON", "TORCH_INDEX")
}


def make(*words: str, folder: Path = ROOT) -> str:
    result = subprocess.run(
        ["make", *words],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def copy_of_inputs(folder: Path) -> Path:
    """What the stamp of the environment depends on."""
    names = [ROOT / "Makefile", *ROOT.glob("requirements/*.txt"), *ROOT.glob("*/pyproject.toml")]
    for path in names:
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return folder


def stamp(folder: Path, *words: str) -> str:
    found = re.search(r"touch (\S+\.ready\S*)", make("-n", "setup", *words, folder=folder))
    assert found
    return found[1]


def test_help_lists_every_target_in_one_line() -> None:
    lines = make("help").splitlines()
    listed = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}
    assert sorted(listed) == TARGETS
    assert len(lines) == len(TARGETS)
    assert all(len(text) > 10 for text in listed.values())


def test_help_is_what_make_does_without_a_target() -> None:
    assert make() == make("help")


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_can_be_planned(target: str) -> None:
    assert make("-n", target, "VIDEO=clip.mp4", "MASK=first.png", "DAVIS=folder").strip()


def test_training_of_stemseg_is_the_original_command() -> None:
    words = make("-n", "train-stemseg", "CFG=davis_1")
    assert "python stemseg/training/main.py --cfg davis_1.yaml --model_dir davis_1 " in words
    assert "--allow_multigpu" not in words
    words = " ".join(
        make("-n", "train-stemseg", "CFG=davis_2", "ID=two", "INITIAL=one.pth", "GPUS=2").split()
    )
    assert (
        "torchrun --standalone --nproc_per_node=2 stemseg/training/main.py --cfg davis_2" in words
    )
    assert "--model_dir two" in words
    assert "--allow_multigpu" in words
    assert "--initial_ckpt 'one.pth'" in words
    assert "--restore_session 'a.pth'" in make("-n", "train-stemseg", "RESUME=a.pth")


def test_the_environment_is_kept_while_the_requirements_stay(tmp_path: Path) -> None:
    folder = copy_of_inputs(tmp_path)
    mark = stamp(folder)
    (folder / mark).parent.mkdir()
    (folder / mark).touch()
    assert "pip" not in make("-n", "setup", folder=folder)


@pytest.mark.parametrize("changed", ["requirements/base.txt", "stcn/pyproject.toml"])
def test_the_environment_is_made_anew_when_requirements_change(
    tmp_path: Path, changed: str
) -> None:
    folder = copy_of_inputs(tmp_path)
    before = stamp(folder)
    with (folder / changed).open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert stamp(folder) != before


def test_index_python_and_folder_are_variables(tmp_path: Path) -> None:
    folder = copy_of_inputs(tmp_path)
    plan = make("-n", "setup", "TORCH_INDEX=URL", "PYTHON=python9", "VENV=other", folder=folder)
    assert "--index-url URL -r requirements/torch.txt" in plan
    assert "python9 -m venv other" in plan and "other/bin/python" in plan
    assert stamp(folder) != stamp(folder, "TORCH_INDEX=URL")


def test_several_gpus_start_several_processes() -> None:
    assert "torchrun --standalone --nproc_per_node=2" in make("-n", "train-stcn", "GPUS=2")
    assert "torchrun" not in make("-n", "train-stcn")


@pytest.mark.parametrize("method", ["stcn", "stemseg", "stmask"])
def test_a_prediction_without_a_video_says_what_to_type(method: str) -> None:
    with pytest.raises(AssertionError, match=f"make predict-{method} VIDEO=clip.mp4"):
        make("-n", f"predict-{method}")


def test_prediction_of_stmask_takes_weights() -> None:
    words = " ".join(make("-n", "predict-stmask", "VIDEO=a b.mp4", "MODEL=m.pth").split())
    assert "predict 'a b.mp4' -o 'runs/predict' \\ --model 'm.pth'" in words


def test_variables_reach_the_commands() -> None:
    plan = make("-n", "predict-stcn", "VIDEO=a b.mp4", "MASK=0=x.png 7=y.png", "OUT=o")
    assert "predict 'a b.mp4' --mask '0=x.png' --mask '7=y.png' -o o" in plan
    plan = make("-n", "train-stcn", "STAGE=2", "LOAD=w.pth", "RESUME=c.pth", "ID=me")
    assert "--stage 2 --id me" in plan
    assert "--load_network 'w.pth'" in plan and "--load_model 'c.pth'" in plan
    plan = make("-n", "demo", "VIDEO=clip.mp4", "MASK=first.png")
    assert "--video 'clip.mp4'" in plan and "--mask 'first.png'" in plan
