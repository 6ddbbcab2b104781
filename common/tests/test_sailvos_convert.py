"""The converters of raw SAIL-VOS annotations and the making of SAIL-VOS-cut."""

from __future__ import annotations

import json
import os
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vidseg_common import rle
from vidseg_common.datasets import sailvos, sailvos_cut
from vidseg_common.datasets.sailvos_convert import convert_folder, json_script, sailvos2coco
from vidseg_common.datasets.sailvos_cut import (
    create_sailvoscut_fromdict,
    find_cuts,
    sailvos2coco_cut,
    scene_scores,
)
from vidseg_common.errors import DatasetError
from vidseg_common.parity.runner import read_cases, run_case

RECORDS = Path(__file__).parent / "parity" / "vatrack"
H, W = 4, 6


def test_recorded_conversion() -> None:
    (case,) = [case for case in read_cases(RECORDS) if case["kind"] == "conversion"]
    outcome = run_case(RECORDS, case)
    assert outcome.verdict == "PASS", outcome.line()


def annotation(i: int, image_id: int, obj_id: int, **other: Any) -> dict[str, Any]:
    """A raw annotation."""
    mask = rle.encode(np.ones((H, W)))
    return {
        **{"id": i, "image_id": image_id, "category_id": 3, "obj_id": obj_id, "model_id": 1},
        **{"bbox": [0, 0, W, H], "bbox_visible": [0, 0, W, H], "area": 24, "area_visible": 24},
        **{"segmentation": mask, "visible_mask": mask, "invisible_mask": mask, "iscrowd": 0},
        **{"occlu_depth": 0, "occlude_rate": 0.0},
        **other,
    }


def raw_file(
    path: Path, images: list[tuple[int, str]], annotations: list[Any], names: list[str]
) -> Path:
    """A raw file; images are pairs of id and file name."""
    content = {
        "videos": [{"id": 50 + i, "vid_name": name} for i, name in enumerate(names)],
        "images": [
            {"id": i, "video_id": 0, "file_name": n, "frame_id": f, "width": W, "height": H}
            for f, (i, n) in enumerate(images)
        ],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "car"}, {"id": 1, "name": "person"}],
    }
    path.write_text(json.dumps(content))
    return path


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_numbering_against_a_scan(tmp_path_factory: Any, data: Any) -> None:
    """Image ids in any order and with any gaps: nothing gets lost."""
    folder = tmp_path_factory.mktemp("raw")
    ids = data.draw(st.lists(st.integers(0, 500), min_size=1, max_size=8, unique=True))
    images = [(i, f"{data.draw(st.sampled_from('ab'))}/images/{i:06d}.bmp") for i in ids]
    pairs = st.tuples(st.sampled_from(ids), st.integers(1, 4))
    chosen = data.draw(st.lists(pairs, max_size=12, unique=True))
    annotations = [annotation(n, image, obj) for n, (image, obj) in enumerate(chosen)]
    path = raw_file(folder / "a.json", images, annotations, ["b", "a"])
    assert sailvos2coco(path, folder / "b.json") == []
    got = json.loads((folder / "b.json").read_text())

    wanted, instances = [], 0
    for video_id, name in enumerate(["b", "a"], 1):
        numbers: dict[int, int] = {}
        for image in sorted(i for i, file_name in images if file_name[0] == name):
            for entry in annotations:
                if entry["image_id"] == image:
                    if entry["obj_id"] not in numbers:
                        instances += 1
                        numbers[entry["obj_id"]] = instances
                    wanted.append((entry["id"], video_id, numbers[entry["obj_id"]]))
    found = [(a["id"], a["video_id"], a["instance_id"]) for a in got["annotations"]]
    assert found == wanted
    assert [video["name"] for video in got["videos"]] == ["b", "a"]
    assert len(got["images"]) == len(images)


def test_faults_of_raw_files(tmp_path: Path) -> None:
    images = [(0, "a/images/0.bmp"), (1, "z/images/0.bmp")]
    path = raw_file(tmp_path / "a.json", images, [annotation(0, 0, 1)], ["a"])
    assert sailvos2coco(path, tmp_path / "b.json") == ["1 images belong to no video: z/"]
    broken = annotation(4, 0, 1)
    del broken["obj_id"], broken["area"]
    raw_file(path, images, [broken, annotation(5, 9, 1), "text"], ["a"])
    with pytest.raises(DatasetError) as error:
        sailvos2coco(path, tmp_path / "b.json")
    assert "annotation 4: missing area, obj_id" in str(error.value)
    assert "annotation 'text'" in str(error.value)
    raw_file(path, images, [annotation(5, 9, 1)], ["a"])
    with pytest.raises(DatasetError, match="annotations of unlisted image 9"):
        sailvos2coco(path, tmp_path / "b.json")
    path.write_text(json.dumps({"videos": [{"id": 1}]}))
    with pytest.raises(DatasetError, match=r"videos\[0\]: missing vid_name"):
        sailvos2coco(path, tmp_path / "b.json")


@pytest.mark.parametrize(
    ("kind", "bbox"),
    [("amodal", None), ("visible", None), ("joint", "amdl"), ("joint", "visb"), ("joint", "both")],
)
def test_kinds_are_those_of_the_reader(tmp_path: Path, kind: str, bbox: str | None) -> None:
    """The last step writes what reading its source and writing the kind gives, sizes apart."""
    annotations = [annotation(0, 0, 1), annotation(1, 0, 2, occlude_rate=0.76)]
    path = raw_file(tmp_path / "a.json", [(0, "a/images/0.bmp")], annotations, ["a"])
    sailvos2coco(path, tmp_path / "b.json")
    assert json_script(tmp_path / "b.json", tmp_path / "c.json", kind=kind, bbox=bbox) == []
    got = json.loads((tmp_path / "c.json").read_text())
    assert [a["id"] for a in got["annotations"]] == [0]
    assert got["annotations"][0]["category_id"] == 1
    assert [c["id"] for c in got["categories"]] == [1, 2]
    assert got["images"][0]["file_name"] == "a/images/0.png"
    got["videos"][0] |= {"width": W, "height": H, "num_frames": 1}
    (tmp_path / "c.json").write_text(json.dumps(got))
    read = sailvos.read(tmp_path / "c.json", kind=kind, bbox=bbox)
    sailvos.write(read, tmp_path / "d.json")
    again = json.loads((tmp_path / "d.json").read_text())
    assert again["annotations"] == got["annotations"]


def test_unknown_category_is_an_error(tmp_path: Path) -> None:
    annotations = [annotation(7, 0, 1, category_id=8)]
    path = raw_file(tmp_path / "a.json", [(0, "a/images/0.bmp")], annotations, ["a"])
    sailvos2coco(path, tmp_path / "b.json")
    with pytest.raises(DatasetError, match=r"annotation 7: category_id 8 is none of \[1, 3\]"):
        json_script(tmp_path / "b.json", tmp_path / "c.json", kind="amodal")
    assert not (tmp_path / "c.json").exists()


def test_folders(tmp_path: Path) -> None:
    source = tmp_path / "raw"
    source.mkdir()
    raw_file(source / "train.json", [(0, "a/images/0.bmp")], [], ["a"])
    with pytest.raises(DatasetError, match=r"valid\.json"):
        convert_folder(sailvos2coco, source, tmp_path / "out")
    raw_file(source / "valid.json", [(0, "b/images/0.bmp")], [], ["a"])
    warnings = convert_folder(sailvos2coco, source, tmp_path / "out")
    assert warnings == ["valid.json: 1 images belong to no video: b/"]
    kinds = partial(json_script, kind="visible")
    assert convert_folder(kinds, tmp_path / "out", tmp_path / "visible") == []
    assert sorted(p.name for p in (tmp_path / "visible").iterdir()) == ["train.json", "valid.json"]


# ---------------------------------------------------------------- cuts


@given(st.lists(st.sampled_from([0.0, 26.9, 27.0, 80.0]), max_size=30))
def test_cuts_against_the_rule(scores: list[float]) -> None:
    cuts, last = [], 0
    for f in range(len(scores)):
        is_inner = f not in (0, len(scores) - 1)
        if is_inner and scores[f] >= 27 and f - last >= 5 and len(scores) - 1 - f > 5:
            cuts.append(f)
            last = f
    assert find_cuts(scores) == cuts


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_scores_against_the_formula(seed: int) -> None:
    frames = np.random.default_rng(seed).integers(0, 256, (3, 5, 7, 3), np.uint8)
    got = list(scene_scores(frames))
    hsv = [cv2.cvtColor(frame, cv2.COLOR_BGR2HSV).astype(np.int64) for frame in frames]
    wanted = [0.0] + [
        float(np.mean([np.abs(b - a)[..., c].mean() for c in range(3)])) for a, b in pairwise(hsv)
    ]
    assert got == pytest.approx(wanted, abs=1e-12)


def make_frames(folder: Path, colors: list[int], suffix: str = ".png") -> None:
    folder.mkdir(parents=True)
    for i, color in enumerate(colors):
        Image.new("RGB", (W, H), (color, color, 7)).save(folder / f"{i:06d}{suffix}")


def cut_source(tmp_path: Path, suffix: str) -> Path:
    """A video of twelve frames with a change of scene at the sixth."""
    make_frames(tmp_path / "png/a/images", [10] * 6 + [200] * 7, suffix)
    images = [(i, f"a/images/{i:06d}.bmp") for i in range(13)]
    annotations = [annotation(i, i, 1) for i in range(13)]
    raw_file(tmp_path / "raw.json", images, annotations, ["a"])
    sailvos2coco(tmp_path / "raw.json", tmp_path / "coco.json")
    return tmp_path / "coco.json"


@pytest.mark.parametrize("transfer", ["none", "copy", "hardlink", "symlink", "move"])
@pytest.mark.parametrize("suffix", [".bmp", ".png"])
def test_cut_and_frames(tmp_path: Path, transfer: Any, suffix: str) -> None:
    source = cut_source(tmp_path, suffix)
    out = tmp_path / "cut.json"
    sailvos2coco_cut(
        source, out, frames=tmp_path / "png", frames_out=tmp_path / "cut", transfer=transfer
    )
    got = json.loads(out.read_text())
    assert [(v["name"], v["num_frames"]) for v in got["videos"]] == [("a__6", 6), ("a__12", 7)]
    assert (got["videos"][0]["width"], got["videos"][0]["height"]) == (W, H)
    assert got["images"][6]["file_name"] == "a__12/images/000006.bmp"
    assert [image["frame_id"] for image in got["images"]] == [*range(6), *range(7)]
    assert [a["instance_id"] for a in got["annotations"]] == [1] * 6 + [2] * 7
    placed = sorted((tmp_path / "cut").rglob("*.*"))
    assert len(placed) == (0 if transfer == "none" else 13)
    assert all(path.suffix == suffix for path in placed)
    assert all(path.is_symlink() == (transfer == "symlink") for path in placed)
    left = list((tmp_path / "png/a/images").iterdir())
    assert len(left) == (0 if transfer == "move" else 13)
    if transfer == "hardlink":
        assert all(path.stat().st_nlink == 2 for path in placed)


@pytest.mark.parametrize("transfer", ["none", "copy", "move"])
def test_an_interrupted_cut_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transfer: Any
) -> None:
    source = cut_source(tmp_path, ".png")
    cut = partial(sailvos2coco_cut, source, frames=tmp_path / "png", transfer=transfer)
    expected = tmp_path / "expected.json"
    sailvos2coco_cut(source, expected, frames=tmp_path / "png")
    paths = {"out": tmp_path / "cut.json", "frames_out": tmp_path / "cut"}
    transferred: list[Path] = []

    def stop(path: Path, target: Path, how: Any) -> None:
        if len(transferred) == 2:
            raise KeyboardInterrupt
        transferred.append(target)
        place(path, target, how)

    place = sailvos_cut._transfer
    monkeypatch.setattr(sailvos_cut, "_transfer", stop)
    with pytest.raises(KeyboardInterrupt):
        cut(**paths, notes=tmp_path / "notes")
    assert list((tmp_path / "notes").glob("*.json"))
    monkeypatch.setattr(sailvos_cut, "_transfer", place)
    monkeypatch.setattr(sailvos_cut, "scene_scores", None)  # nothing is looked at again
    cut(**paths, notes=tmp_path / "notes")
    assert not (tmp_path / "notes").exists()
    assert paths["out"].read_text() == expected.read_text()
    count = len(json.loads(expected.read_text())["images"])
    assert len(list((tmp_path / "cut").rglob("*.png"))) == (0 if transfer == "none" else count)


def test_missing_frames_are_listed(tmp_path: Path) -> None:
    source = cut_source(tmp_path, ".png")
    for name in ("000003.png", "000009.png"):
        (tmp_path / "png/a/images" / name).unlink()
    with pytest.raises(DatasetError) as error:
        sailvos2coco_cut(source, tmp_path / "cut.json", frames=tmp_path / "png")
    assert "000003.bmp" in str(error.value) and "000009.bmp" in str(error.value)
    (tmp_path / "png/a/images/000003.png").write_bytes(b"no picture")
    Image.new("RGB", (W, H)).save(tmp_path / "png/a/images/000009.png")
    with pytest.raises(DatasetError, match="not a readable image"):
        sailvos2coco_cut(source, tmp_path / "cut.json", frames=tmp_path / "png")


# ---------------------------------------------------------------- from the list


@pytest.fixture
def structure(tmp_path: Path) -> Path:
    make_frames(tmp_path / "src/a_1/images", [10, 20, 30], ".bmp")
    make_frames(tmp_path / "src/b_2/images", [40, 50], ".png")
    path = tmp_path / "structure.json"
    pieces = {
        "b_2__1": ["000000.bmp", "000001.bmp"],
        "a_1__2": ["000001.bmp", "000002.bmp"],
        "a_1": ["000000.bmp"],
        "a_1__0": [],
    }
    path.write_text(json.dumps(pieces))
    return path


@pytest.mark.parametrize("transfer", ["copy", "hardlink", "symlink"])
def test_from_the_list(tmp_path: Path, structure: Path, transfer: Any) -> None:
    out = tmp_path / "cut"
    assert create_sailvoscut_fromdict(structure, tmp_path / "src", out, transfer=transfer) == 5
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*.*"))
    assert names == [
        "a_1/images/000000.png",
        "a_1__2/images/000001.png",
        "a_1__2/images/000002.png",
        "b_2__1/images/000000.png",
        "b_2__1/images/000001.png",
    ]
    for name, color in zip(names, [10, 20, 30, 40, 50], strict=True):
        with Image.open(out / name) as image:
            assert image.format == "PNG"
            assert image.getpixel((1, 1)) == (color, color, 7)
    assert (out / names[4]).is_symlink() == (transfer == "symlink")
    assert not (out / names[0]).is_symlink()


def test_from_the_list_goes_on(tmp_path: Path, structure: Path) -> None:
    out = tmp_path / "cut"
    create_sailvoscut_fromdict(structure, tmp_path / "src", out)
    kept, gone = out / "a_1/images/000000.png", out / "b_2__1/images/000000.png"
    kept.write_bytes(b"mine")
    gone.unlink()
    create_sailvoscut_fromdict(structure, tmp_path / "src", out, workers=2)
    assert kept.read_bytes() == b"mine"
    assert gone.is_file()


def test_faults_of_the_list(tmp_path: Path, structure: Path) -> None:
    make = partial(create_sailvoscut_fromdict, source=tmp_path / "src", out=tmp_path / "cut")
    (tmp_path / "src/a_1/images/000001.bmp").unlink()
    with pytest.raises(DatasetError, match=r"a_1/images: 000001\.bmp"):
        make(structure)
    assert not (tmp_path / "cut").exists()
    for content, message in (
        ('{"a": ["../../x.bmp"]}', "'a': expected a list of file names"),
        ('{"../a": []}', "'../a': expected a list"),
        ('{"a": 3}', "'a': expected a list"),
        ("[]", "expected an object"),
        ("{", "not a JSON file"),
    ):
        structure.write_text(content)
        with pytest.raises(DatasetError) as error:
            make(structure)
        assert message in str(error.value)
    with pytest.raises(DatasetError, match="not found"):
        make(tmp_path / "none.json")


def test_official_list() -> None:
    folder = os.environ.get("VIDSEG_SAILVOS_SAMPLE")
    if not folder:
        pytest.skip("VIDSEG_SAILVOS_SAMPLE names no folder with the official list")
    with pytest.raises(DatasetError) as error:
        create_sailvoscut_fromdict(
            Path(folder) / "sailvos_cut_structure.json", Path(folder), Path(folder) / "none"
        )
    # Nothing is wrong with the list itself: every frame of its 204 videos is asked for.
    assert str(error.value).startswith("113490 frames not found:")
    assert str(error.value).count("\n") == 204
