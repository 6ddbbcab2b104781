import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from vidseg_common.checkpoint import (
    load_checkpoint,
    load_strict,
    read_safetensors_metadata,
    requested_globals,
    save_atomic,
    save_safetensors,
    shapes_of,
    strip_prefix,
)
from vidseg_common.errors import CheckpointError


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def small_net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


LEGACY = {"_use_new_zipfile_serialization": False}


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
def test_plain_tensors_load(tmp_path, options):
    path = tmp_path / "w.pth"
    saved = {"it": 7, "network": small_net().state_dict(), "steps": [1, 2], "name": "x"}
    torch.save(saved, path, **options)
    loaded = load_checkpoint(path)
    assert loaded["it"] == 7
    assert loaded["steps"] == [1, 2]
    for key, value in saved["network"].items():
        assert torch.equal(loaded["network"][key], value)
    assert requested_globals(path) == []


def test_optimizer_and_scheduler_state_load(tmp_path):
    net = small_net()
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.rand(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])
    path = tmp_path / "state.pth"
    save_atomic({"o": optimizer.state_dict(), "s": scheduler.state_dict()}, path)
    loaded = load_checkpoint(path)
    optimizer.load_state_dict(loaded["o"])
    scheduler.load_state_dict(loaded["s"])


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_code_is_refused_and_named(tmp_path, options, protocol):
    path, marker = tmp_path / "evil.pth", tmp_path / "marker"
    objects = {"w": torch.ones(2), "a": Payload(marker), "b": np.float64(1)}
    torch.save(objects, path, pickle_protocol=protocol, **options)
    with pytest.raises(CheckpointError, match="refused") as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message
    assert f"{os.mkdir.__module__}.mkdir" in message
    assert "multiarray.scalar" in message
    assert "numpy.dtype" in message
    assert "rebuild_tensor" not in message
    assert not marker.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickle_with_code_is_refused(tmp_path, protocol):
    path, marker = tmp_path / "evil.pkl", tmp_path / "marker"
    path.write_bytes(pickle.dumps({"a": Payload(marker)}, protocol=protocol))
    with pytest.raises(CheckpointError, match="mkdir"):
        load_checkpoint(path)
    assert requested_globals(path) == [f"{os.mkdir.__module__}.mkdir"]
    assert not marker.exists()


def test_memoised_names_are_found():
    """The name of a global can be fetched from the memo instead of standing before it."""
    from io import BytesIO

    from vidseg_common.checkpoint import _scan_pickles

    memoised = b"\x80\x04\x8c\x06system\x94\x8c\x05posix\x94" + b"h\x01h\x00\x93."
    found = set()
    assert _scan_pickles(BytesIO(memoised), found)
    assert found == {"posix.system"}


def _truncated_zip(path: Path) -> None:
    torch.save({"w": torch.ones(3000)}, path)
    path.write_bytes(path.read_bytes()[:6000])


def _truncated_legacy(path: Path) -> None:
    torch.save({"w": torch.ones(3000)}, path, **LEGACY)
    path.write_bytes(path.read_bytes()[:6000])


def _other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("JPEGImages/00000.jpg", b"x")


def _damaged_zip(path: Path) -> None:
    torch.save({"w": torch.ones(3000)}, path)
    content = bytearray(path.read_bytes())
    start = content.index(b"data.pkl") + 8
    content[start : start + 200] = b"\xff" * 200
    path.write_bytes(bytes(content))


def _torchscript(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/constants.pkl", b"x")
        archive.writestr("net/data.pkl", b"x")


def _safe_protocol_4(path: Path) -> None:
    torch.save({"w": torch.ones(3)}, path, pickle_protocol=4)


FOREIGN = {
    "web page": (
        lambda path: path.write_text("\n <!DOCTYPE html><html>Quota exceeded</html>"),
        "web page",
    ),
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "text": (lambda path: path.write_text("conv1\nweight\n1 2 3\n"), "not a checkpoint"),
    "zeros": (lambda path: path.write_bytes(b"\0" * 4000), "not a checkpoint"),
    "noise": (
        lambda path: path.write_bytes(np.random.default_rng(0).bytes(4000)),
        "not a checkpoint",
    ),
    "png": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), "PNG image"),
    "gzip": (lambda path: path.write_bytes(b"\x1f\x8b\x08\x00"), "gzip archive"),
    "lfs": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1"), "LFS"),
    "truncated zip": (_truncated_zip, "truncated"),
    "truncated legacy": (_truncated_legacy, "truncated"),
    "zip of images": (_other_zip, "zip archive of something else"),
    "damaged zip": (_damaged_zip, "damaged"),
    "torchscript": (_torchscript, "TorchScript"),
    "protocol 4": (_safe_protocol_4, "pickle instructions"),
    "missing": (lambda path: None, "no such file"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_foreign_file_gives_one_sentence(tmp_path, name, suffix):
    make, expected = FOREIGN[name]
    path = tmp_path / f"model{suffix}"
    make(path)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert "weights_only" not in message, "torch's advice to load unsafely must not be shown"
    if suffix == ".pth":
        assert expected in message


def test_safetensors_round_trip(tmp_path):
    net = small_net()
    path = tmp_path / "deep" / "net.safetensors"
    state = net.state_dict() | {"tied": net[0].weight, "strided": torch.rand(4, 3).t()}
    save_safetensors(state, path, {"variant": "small"})
    loaded = load_checkpoint(path)
    assert shapes_of(loaded) == shapes_of(state)
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    assert read_safetensors_metadata(path) == {"variant": "small"}


def test_safetensors_truncated(tmp_path):
    path = tmp_path / "net.safetensors"
    save_safetensors({"w": torch.ones(500)}, path)
    path.write_bytes(path.read_bytes()[:-100])
    for read in (load_checkpoint, read_safetensors_metadata):
        with pytest.raises(CheckpointError, match="truncated"):
            read(path)


def test_torch_file_named_safetensors(tmp_path):
    path = tmp_path / "net.safetensors"
    torch.save({"w": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match=r"suffix \.pth"):
        load_checkpoint(path)


def test_load_strict_fills_the_module():
    source, target = small_net(), small_net()
    load_strict(target, source.state_dict(), source="w.pth")
    for left, right in zip(source.parameters(), target.parameters(), strict=True):
        assert torch.equal(left, right)


def test_load_strict_table_and_fitting_variant():
    net = small_net()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    wide = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).state_dict()
    wide["extra.weight"] = torch.ones(1)
    del wide["1.bias"]
    variants = {"small": shapes_of(net.state_dict()), "wide": shapes_of(wide)}
    with pytest.raises(CheckpointError) as caught:
        load_strict(net, wide, source="wide.pth", variants=variants)
    message = str(caught.value)
    assert message.startswith("wide.pth: the weights do not fit Sequential (7 keys")
    assert "1 missing from the file:\n    1.bias  needs 4" in message
    assert "1 unknown to the model:\n    extra.weight  file 1" in message
    assert "5 of another shape:" in message
    assert "0.weight" in message
    assert "file 8x3x3x3, needs 4x3x3x3" in message
    assert "The file fits the variant wide." in message
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_load_strict_shows_some_rows_and_all_counts():
    state = {f"layer{index}.weight": torch.ones(1) for index in range(100)}
    with pytest.raises(CheckpointError) as caught:
        load_strict(
            small_net(), state, source="x.pth", variants={"a": {"layer0.weight": (1,)}, "b": {}}
        )
    message = str(caught.value)
    assert "100 unknown to the model" in message
    assert "... and 92 more" in message
    assert "fits none of the known variants (a, b); nearest is a with 99 keys" in message
    assert len(message.splitlines()) < 30


def test_load_strict_container_instead_of_weights():
    with pytest.raises(CheckpointError, match=r"container.*it, network"):
        load_strict(small_net(), {"it": 3, "network": {}}, source="c.pth")
    with pytest.raises(CheckpointError, match="holds a list"):
        load_strict(small_net(), [1], source="c.pth")


def test_load_strict_dtypes():
    net = small_net()
    half = {k: v.half() if v.is_floating_point() else v for k, v in net.state_dict().items()}
    with pytest.warns(UserWarning, match="6 tensors are converted.*float16 to float32"):
        load_strict(net, half, source="half.pth")
    assert net[0].weight.dtype == torch.float32
    whole = net.state_dict() | {"0.bias": torch.ones(4, dtype=torch.int64)}
    with pytest.raises(CheckpointError, match=r"0\.bias  file int64, needs float32"):
        load_strict(net, whole, source="int.pth")


def test_load_strict_warns_of_weights_that_are_not_finite():
    net = small_net()
    state = net.state_dict()
    state["0.bias"][1] = float("nan")
    with pytest.warns(UserWarning, match=r"not finite.*0\.bias"):
        load_strict(net, state, source="nan.pth")


def test_strip_prefix():
    assert list(strip_prefix({"module.a": torch.ones(1), "b": torch.ones(1)})) == ["a", "b"]
    with pytest.raises(CheckpointError, match=r"module\.a"):
        strip_prefix({"module.a": torch.ones(1), "a": torch.ones(1)})


def test_failing_save_keeps_the_old_file(tmp_path):
    path = tmp_path / "w.pth"
    save_atomic({"it": 1}, path)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save_atomic({"it": 2, "bad": lambda: None}, path)
    assert load_checkpoint(path) == {"it": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["w.pth"]


FULL_DISK = """
import resource, signal, sys, torch
from vidseg_common.checkpoint import save_atomic, save_safetensors
from vidseg_common.errors import CheckpointError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
state = {"w": torch.ones(100_000)}
for save in (save_atomic, save_safetensors):
    try:
        save(state, sys.argv[1])
    except CheckpointError as error:
        print(error)
"""


def test_full_disk_keeps_the_old_file(tmp_path):
    """A limit on the file size stands for a full disk: the write breaks off half-way."""
    path = tmp_path / "w.pth"
    save_atomic({"it": 1}, path)
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True
    )
    messages = done.stdout.strip().splitlines()
    assert len(messages) == 2, done.stdout + done.stderr
    for message in messages:
        assert message.startswith(f"cannot write {path}")
        assert "the earlier file of that name is unchanged" in message
    assert load_checkpoint(path) == {"it": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["w.pth"]
