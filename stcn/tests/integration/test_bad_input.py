"""What a user can do wrong with the evaluation tools: one clear error, nothing half-written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stcn.commands import eval as eval_command
from stcn.commands import eval_davis, eval_generic, eval_youtube, ms
from vidseg_common.errors import run_cli
from vidseg_common.files import OutputLock
from vidseg_common.masks import write_mask

SPRUNG = "sprung"


@pytest.fixture
def refused(weights, tmp_path, capsys):
    """Runs a tool that must refuse; gives its message after checking its form and the folder."""

    def run(main, *words, output="out", model=weights):
        flags = ["--output", str(tmp_path / output), "--model", str(model), "--device", "cpu"]
        with pytest.raises(SystemExit) as caught:
            run_cli(lambda: main([*flags, *map(str, words)]))
        assert caught.value.code == 2
        # Progress bars are wiped by returning to the start of the line.
        message = capsys.readouterr().err.rsplit("\r", 1)[-1]
        assert message.startswith("error: ")
        assert "Traceback" not in message
        assert_whole(tmp_path / output)
        return message

    return run


def assert_whole(folder):
    """Whatever is in the folder is a complete mask; no lock, probe or temporary file is left."""
    if not folder.is_dir():
        return
    for path in (path for path in folder.rglob("*") if path.is_file()):
        assert path.suffix == ".png"
        assert not path.name.startswith(".")
        with Image.open(path) as image:
            image.load()


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


class TestWeights:
    @pytest.fixture
    def message(self, refused, generic, tmp_path):
        def of(path):
            text = refused(eval_generic.main, "--data_path", generic, model=path)
            assert not (tmp_path / "out").exists()
            assert str(path) in text
            return text

        return of

    def test_missing(self, message, tmp_path):
        assert "no such weights file" in message(tmp_path / "gone.pth")

    def test_truncated(self, message, weights, tmp_path):
        path = tmp_path / "cut.pth"
        path.write_bytes(weights.read_bytes()[:5000])
        assert "truncated" in message(path)

    def test_foreign(self, message, tmp_path):
        path = tmp_path / "page.pth"
        path.write_text("<!doctype html><title>Too many downloads</title>")
        assert "web page" in message(path)

    def test_of_another_method(self, message, tmp_path):
        path = tmp_path / "other.pth"
        torch.save({"backbone.stem.weight": torch.zeros(3)}, path)
        text = message(path)
        assert "405 missing from the file" in text
        assert "1 unknown to the model" in text

    def test_with_code(self, message, network, tmp_path):
        path = tmp_path / "trap.pth"
        torch.save({"network": network.state_dict(), "x": Trap(tmp_path / SPRUNG)}, path)
        text = message(path)
        assert "refused" in text
        assert "Path" in text
        assert not (tmp_path / SPRUNG).exists()

    def test_with_a_key_missing(self, message, network, tmp_path):
        path = tmp_path / "part.pth"
        state = network.state_dict()
        del state["key_proj.key_proj.bias"]
        torch.save(state, path)
        text = message(path)
        assert "1 missing from the file" in text
        assert "key_proj.key_proj.bias" in text


class TestFrames:
    def test_unreadable(self, refused, generic):
        path = generic / "JPEGImages/one/00003.jpg"
        path.write_bytes(path.read_bytes()[:300])
        assert str(path) in refused(eval_generic.main, "--data_path", generic)

    def test_no_image_at_all(self, refused, davis):
        path = davis / "trainval/JPEGImages/480p/bee/00000.jpg"
        path.write_text("frame")
        assert str(path) in refused(eval_davis.main_2017, "--davis_path", davis)

    def test_missing(self, refused, youtube):
        (youtube / "all_frames/valid_all_frames/JPEGImages/late/00010.jpg").unlink()
        message = refused(eval_youtube.main, "--yv_path", youtube)
        assert "late: no image" in message
        assert "00010" in message

    def test_of_unequal_size(self, refused, generic):
        path = generic / "JPEGImages/two/00004.jpg"
        Image.new("RGB", (46, 30)).save(path)
        message = refused(eval_generic.main, "--data_path", generic)
        assert f"{path} is 46x30" in message

    def test_folder_without_images(self, refused, generic):
        (generic / "JPEGImages" / "void").mkdir()
        assert "void: no images" in refused(eval_generic.main, "--data_path", generic)


class TestMasks:
    def test_of_another_size(self, refused, generic, tmp_path):
        path = generic / "Annotations/one/00000.png"
        write_mask(path, np.ones((20, 10), np.uint8))
        message = refused(eval_generic.main, "--data_path", generic)
        assert f"{path}: mask is 10x20, the frames of one are 46x34" in message
        assert not list((tmp_path / "out").rglob("*.png"))

    def test_empty_everywhere(self, refused, generic):
        for path in generic.glob("Annotations/*/*.png"):
            write_mask(path, np.zeros((34, 46), np.uint8))
        message = refused(eval_generic.main, "--data_path", generic)
        assert "no video to segment" in message
        assert "one: no annotated frame with an object" in message
        assert "two: no annotated frame with an object" in message

    def test_in_colour(self, refused, generic):
        path = generic / "Annotations/one/00000.png"
        Image.new("RGB", (46, 34), (9, 9, 9)).save(path)
        message = refused(eval_generic.main, "--data_path", generic)
        assert f"{path} is a colour picture" in message

    @pytest.mark.parametrize("object_id", [256, 65535])
    def test_more_than_255_ids(self, refused, generic, object_id):
        path = generic / "Annotations/one/00000.png"
        Image.fromarray(np.full((34, 46), object_id, np.uint16)).save(path)
        message = refused(eval_generic.main, "--data_path", generic)
        assert f"{path}: object id {object_id} does not fit" in message

    def test_cut_off(self, refused, davis):
        path = davis / "trainval/Annotations/480p/ant/00000.png"
        path.write_bytes(path.read_bytes()[:-30])
        assert str(path) in refused(eval_davis.main_2017, "--davis_path", davis)

    def test_none_for_the_first_frame(self, refused, davis):
        (davis / "trainval/Annotations/480p/ant/00000.png").unlink()
        message = refused(eval_davis.main_2017, "--davis_path", davis)
        assert "ant: 1 annotation(s) missing" in message


class TestNames:
    @pytest.mark.parametrize(
        ("main", "data", "flag", "mistyped", "meant"),
        [
            (eval_davis.main_2017, "davis", "--davis_path", "cta", "cat"),
            (eval_davis.main_2016, "davis2016", "--davis_path", "beee", "bee"),
            (eval_youtube.main, "youtube", "--yv_path", "erly", "early"),
            (eval_generic.main, "generic", "--data_path", "tow", "two"),
            (ms.main_eval, "youtube", "--yv_path", "lat", "late"),
        ],
    )
    def test_videos_that_never_appear(self, refused, request, main, data, flag, mistyped, meant):
        root = request.getfixturevalue(data)
        message = refused(main, flag, root, "--videos", mistyped)
        assert f"{mistyped}; did you mean {meant}?" in message

    def test_unknown_flag(self, generic, capsys):
        with pytest.raises(SystemExit) as caught:
            run_cli(lambda: eval_generic.main(["--data_pth", str(generic), "--output", "x"]))
        message = capsys.readouterr().err
        assert caught.value.code == 2
        assert "error: unknown flag --data_pth; did you mean --data_path?" in message

    def test_unknown_data_set(self, refused):
        message = refused(lambda argv: eval_command.main(["davis2071", *argv]))
        assert "unknown data set 'davis2071'; did you mean davis2017?" in message

    @pytest.mark.parametrize(
        ("main", "flag"),
        [
            (eval_davis.main_2017, "--davis_path"),
            (eval_youtube.main, "--yv_path"),
            (eval_generic.main, "--data_path"),
        ],
    )
    def test_no_data_set_there(self, refused, tmp_path, main, flag):
        assert str(tmp_path / "nowhere") in refused(main, flag, tmp_path / "nowhere")

    def test_foreign_meta_file(self, refused, youtube):
        (youtube / "valid/meta.json").write_text("{}")
        assert "meta.json" in refused(eval_youtube.main, "--yv_path", youtube)


class TestOutput:
    def test_not_writable(self, refused, generic, tmp_path):
        (tmp_path / "file").write_text("")
        message = refused(eval_generic.main, "--data_path", generic, output="file/out")
        assert f"cannot write into the output folder {tmp_path / 'file' / 'out'}" in message

    def test_is_a_file(self, refused, davis, tmp_path):
        (tmp_path / "file").write_text("mine")
        assert "cannot write" in refused(eval_davis.main_2017, "--davis_path", davis, output="file")
        assert (tmp_path / "file").read_text() == "mine"

    def test_in_use_by_another_run(self, weights, generic, tmp_path, capsys, listing):
        argv = ["--output", str(tmp_path / "out"), "--model", str(weights), "--device", "cpu"]
        with OutputLock(tmp_path / "out"), pytest.raises(SystemExit) as caught:
            run_cli(lambda: eval_generic.main([*argv, "--data_path", str(generic)]))
        assert caught.value.code == 2
        message = capsys.readouterr().err
        assert message.startswith(f"error: the output folder {tmp_path / 'out'} is in use by")
        assert str(os.getpid()) in message
        assert listing(tmp_path / "out") == []

    def test_holds_results_of_other_settings(self, tool, refused, generic, tmp_path, listing):
        words = ("--data_path", generic, "--size", 32)
        tool(eval_generic.main, *words)
        before = listing(tmp_path / "out")
        message = refused(eval_generic.main, *words, "--mem_every", 2)
        assert "mem_every was 5, now 2" in message
        assert listing(tmp_path / "out") == before

    def test_full_disk(self, weights, davis, tmp_path, listing):
        """A limit on the size of files is as a full disk, and holds for this process alone."""
        program = (
            "import resource, signal, sys\n"
            "from stcn.commands.eval_davis import main_2017\n"
            "from vidseg_common.errors import run_cli\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))\n"
            "run_cli(lambda: main_2017(sys.argv[1:]))\n"
        )
        words = ("--davis_path", davis, "--output", tmp_path / "out", "--model", weights)
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, words), "--device", "cpu"],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        message = done.stderr.splitlines()[-1]
        assert message.startswith(f"error: File too large: {tmp_path / 'out' / 'ant' / '0000'}")
        assert listing(tmp_path / "out") == []
        assert json.loads((tmp_path / "out_metrics/run.json").read_text())["videos"] == {}


def test_ground_truth_that_does_not_fit(refused, generic, tmp_path):
    (generic / "truth/two/00004.png").write_text("no mask")
    message = refused(
        *(eval_generic.main, "--data_path", generic, "--size", 32, "--workers", 1),
        *("--ground_truth", generic / "truth"),
    )
    assert "two: " in message
    assert "00004.png" in message
    assert not (tmp_path / "out_metrics" / "result.json").exists()
