"""Annotated frames, pairs, pipelines and schedules; files that do not fit."""

import json
import random

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vatrack.data.annotations import AnnotatedFrames, matches
from vatrack.data.frames import frame_path, read_frame
from vatrack.data.pairs import PairDataset
from vatrack.data.settings import DatasetSettings, PipelineSettings
from vatrack.losses.batch import collate
from vatrack.schedules import Schedule
from vidseg_common import rle
from vidseg_common.datasets.sailvos import CLASS_NAMES
from vidseg_common.datasets.sailvos_kinds import from_plain, kind_of
from vidseg_common.errors import DatasetError
from vidseg_common.training_feed import SampleKey

WIDTH, HEIGHT = 64, 48


def box_mask(x, y, w, h):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y : y + h, x : x + w] = 1
    return rle.encode(mask)


def plain_annotation(number, image, instance, box=(8, 8, 20, 16), **changes):
    """An object whose right half is hidden."""
    x, y, w, h = box
    half = (x, y, w // 2, h)
    return {
        "id": number,
        "video_id": 1,
        "image_id": image,
        "category_id": 1,
        "instance_id": instance,
        "iscrowd": 0,
        "occlude_rate": 0.5,
        "amodal_mask": box_mask(*box),
        "visible_mask": box_mask(*half),
        "bbox_amodal": list(box),
        "bbox_visible": list(half),
        "area_amodal": w * h,
        "area_visible": w * h // 2,
    } | changes


def content(annotations, num_frames=3, videos=1, kind="joint", bbox="both", names=CLASS_NAMES):
    frames = [(v, t) for v in range(1, videos + 1) for t in range(num_frames)]
    return {
        "categories": [{"id": n, "name": name} for n, name in enumerate(names, 1)],
        "videos": [
            {"id": v, "name": f"v{v}", "width": WIDTH, "height": HEIGHT, "num_frames": num_frames}
            for v in range(1, videos + 1)
        ],
        "images": [
            {
                "id": i,
                "video_id": v,
                "frame_id": t,
                "file_name": f"v{v}/images/{t:03d}.png",
                "width": WIDTH,
                "height": HEIGHT,
            }
            for i, (v, t) in enumerate(frames, 1)
        ],
        "annotations": [from_plain(a, kind_of(kind, bbox)) for a in annotations],
    }


@pytest.fixture
def tree(tmp_path):
    """Writes annotations and frames; gives the settings of the data set."""

    def write(annotations, *, masks="joint", two_boxes=True, settings=None, **kwargs):
        bbox = ("both" if two_boxes else "amdl") if masks == "joint" else None
        kwargs = {"kind": masks, "bbox": bbox} | kwargs
        made = content(annotations, **kwargs)
        (tmp_path / "a.json").write_text(json.dumps(made))
        rng = np.random.default_rng(0)
        for image in made["images"]:
            path = tmp_path / "frames" / image["file_name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
        values = {"masks": masks, "two_boxes": two_boxes, "drop_empty": True} | (settings or {})
        pipeline = PipelineSettings(img_scale=(32, 24))
        return DatasetSettings(
            tmp_path / "a.json", tmp_path / "frames", **{"pipeline": pipeline} | values
        )

    return write


def two_frames(**changes):
    """Object 1 in the first two frames, object 2 in the second."""
    return [
        plain_annotation(1, 1, 1, **changes),
        plain_annotation(2, 2, 1),
        plain_annotation(3, 2, 2, (30, 10, 12, 12)),
    ]


# --- annotated frames -----------------------------------------------------------------------------


def test_objects_of_two_boxes(tree):
    data = AnnotatedFrames(tree(two_frames()))
    assert len(data) == 3 and data.keys.tolist() == [0, 1] and data.groups.tolist() == [1, 1]
    first, second = data.objects(0), data.objects(1)
    assert first.boxes.tolist() == [[8, 8, 28, 24]] and first.boxes.dtype == np.float32
    assert first.visible_boxes.tolist() == [[8, 8, 18, 24]]
    assert first.labels.tolist() == [0] and second.instances.tolist() == [1, 2]
    assert rle.area(first.amodal_masks[0]) == 320 and rle.area(first.masks[0]) == 160
    assert matches(second, first).tolist() == [0, -1] and matches(first, second).tolist() == [0]


@pytest.mark.parametrize(("masks", "width"), [("visible", 10), ("amodal", 20)])
def test_objects_of_one_kind_of_masks(tree, masks, width):
    objects = AnnotatedFrames(tree(two_frames(), masks=masks, two_boxes=False)).objects(0)
    assert objects.amodal_masks is None and objects.visible_boxes is None
    assert objects.boxes[0, 2] - objects.boxes[0, 0] == width
    assert rle.area(objects.masks[0]) == 16 * width


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, 1),
        ({"ignore": 1}, 0),
        ({"iscrowd": 1, "instance_id": 9}, 0),
        ({"area_visible": 0}, 0),
        ({"bbox_visible": [8, 8, 0.5, 16]}, 0),
        ({"bbox_amodal": [70, 8, 10, 16]}, 0),
        ({"bbox_visible": [70, 8, 10, 16]}, 0),
    ],
)
def test_annotations_that_are_no_objects(tree, changes, kept):
    assert len(AnnotatedFrames(tree(two_frames(**changes))).objects(0).boxes) == kept


def test_images_without_annotations_are_empty_whatever_the_kind(tree):
    for two_boxes in (True, False):
        objects = AnnotatedFrames(tree(two_frames(), two_boxes=two_boxes)).objects(2)
        assert objects.boxes.shape == (0, 4) and not objects.masks
        assert (objects.visible_boxes is None) != two_boxes


def test_the_test_set_keeps_all_frames(tree):
    assert len(AnnotatedFrames(tree(two_frames(), settings={"drop_empty": False})).keys) == 3
    every = AnnotatedFrames(tree(two_frames(), settings={"drop_empty": False, "interval": 2}))
    assert every.keys.tolist() == [0, 2]


def test_references_stay_in_their_video(tree):
    data = AnnotatedFrames(tree(two_frames(), num_frames=6, videos=2))
    assert data.references(0, 3).tolist() == [1, 2, 3]
    assert data.references(8, 3).tolist() == [6, 7, 9, 10, 11]
    alone = AnnotatedFrames(tree([plain_annotation(1, 1, 1)], num_frames=1))
    assert alone.references(0, 3).tolist() == [0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["categories"].append({"id": 25, "name": "x"}), r"id 25 \(x\) outside 1\.\.24"),
        (lambda c: c["categories"][0].update(id=0), r"id 0 \(person\) outside 1\.\.24"),
        (lambda c: c["annotations"][0].update(category_id=77), "category_id: no category 77"),
        (lambda c: c["annotations"][0].pop("area_visible"), "annotation 1.*area_visible.*missing"),
        (
            lambda c: c["annotations"][0]["segmentation"][1].update(size=[3, 3]),
            "visible_mask|segmentation",
        ),
        (lambda c: c["images"].pop(1), "frame_id|num_frames"),
    ],
)
def test_faults_of_files_are_told(tree, change, message):
    settings = tree(two_frames())
    made = json.loads(settings.ann_file.read_text())
    change(made)
    settings.ann_file.write_text(json.dumps(made))
    with pytest.raises(DatasetError, match=message) as caught:
        AnnotatedFrames(settings)
    assert str(settings.ann_file) in str(caught.value)


@pytest.mark.parametrize("kind", ["visible", "amodal"])
def test_one_kind_of_masks_for_a_joint_network_says_what_is_missing(tree, kind):
    settings = tree(two_frames(), kind=kind, bbox=None)
    with pytest.raises(DatasetError, match=f"holds {kind} annotations, the network needs joint"):
        AnnotatedFrames(settings)
    with pytest.raises(DatasetError, match="annotation 1: segmentation: expected the two masks"):
        AnnotatedFrames(settings)


def test_joint_masks_for_a_network_of_one_kind(tree):
    settings = tree(two_frames(), masks="visible", two_boxes=False, kind="joint", bbox="amdl")
    with pytest.raises(DatasetError, match=r"holds joint\(bbox=amdl_bbox\).*needs visible"):
        AnnotatedFrames(settings)


def test_own_classes(tree):
    names = ("cat", "person")
    settings = tree(two_frames(), names=names, settings={"classes": names})
    assert AnnotatedFrames(settings).objects(0).labels.tolist() == [0]
    settings = tree(two_frames(), names=names, settings={"classes": ("bird", "fish")})
    with pytest.raises(DatasetError, match="none of cat, person is one of the classes bird, fish"):
        AnnotatedFrames(settings)


# --- pairs and pipelines --------------------------------------------------------------------------


def test_a_pair_depends_on_its_key_alone(tree):
    dataset = PairDataset([tree(two_frames())])
    first, again = dataset[SampleKey(0, 7)], dataset[SampleKey(0, 7)]
    assert first.name == again.name == "v1/images/000.png"
    assert (first.image == again.image).all() and (first.ref_image == again.ref_image).all()
    assert first.image.shape == (3, 32, 32) and first.target.img_shape == (24, 32)
    assert first.target.boxes.tolist() == [[4, 4, 14, 12]]
    assert first.target.visible_boxes.tolist() == [[4, 4, 9, 12]]
    assert first.target.masks.sum() == 40 and first.target.amodal_masks.sum() == 80
    assert first.target.match.tolist() == [0] and first.ref_target.match.tolist() == [0, -1]
    assert first.ref_target.masks is None
    batch = collate([first, again])
    assert batch.images.shape == (2, 3, 32, 32) and len(batch.targets) == 2


def test_both_frames_are_mirrored_together(tree):
    settings = tree(two_frames())
    mirrored = PipelineSettings(img_scale=(32, 24), flip_ratio=1.0)
    plain = PairDataset([settings])[SampleKey(0, 7)]
    flipped = PairDataset([tree(two_frames(), settings={"pipeline": mirrored})])[SampleKey(0, 7)]
    assert flipped.target.boxes.tolist() == [[18, 4, 28, 12]]
    assert flipped.target.visible_boxes.tolist() == [[23, 4, 28, 12]]
    for name in ("image", "ref_image"):
        one, other = getattr(plain, name), getattr(flipped, name)
        assert (one[:, :24].flip(2) == other[:, :24]).all() and not other[:, 24:].any()
    assert (plain.target.masks[:, :24].flip(2) == flipped.target.masks[:, :24]).all()


def test_frames_without_a_common_object_are_passed_over(tree):
    annotations = [
        plain_annotation(1, 1, 1),
        plain_annotation(2, 3, 2),
        plain_annotation(3, 4, 3, video_id=2),
        plain_annotation(4, 5, 3, video_id=2),
    ]
    dataset = PairDataset([tree(annotations, videos=2)])
    assert len(dataset) == 4
    for seed in range(8):
        _, index, other = dataset.draw_pair(0, random.Random(seed))
        assert {index, other} == {3, 4}


def test_when_no_pair_has_a_common_object(tree):
    dataset = PairDataset([tree([plain_annotation(1, 1, 1), plain_annotation(2, 2, 2)])])
    with pytest.raises(DatasetError, match="1000 pairs of frames drawn, and none"):
        dataset.draw_pair(0, random.Random(0))


def test_a_video_of_one_frame_is_its_own_reference(tree):
    sample = PairDataset([tree([plain_annotation(1, 1, 1)], num_frames=1)])[SampleKey(0, 1)]
    assert (sample.image == sample.ref_image).all() and sample.target.match.tolist() == [0]


def test_several_data_sets_follow_one_another(tree):
    settings = tree(two_frames())
    dataset = PairDataset([settings, settings])
    assert len(dataset) == len(dataset.groups) == 4


def test_nothing_to_train_on(tree):
    with pytest.raises(DatasetError, match="no frame has an object"):
        PairDataset([tree([])])


def test_frames_that_are_missing_or_of_another_size(tree):
    settings = tree(two_frames())
    dataset = PairDataset([settings])
    frame = settings.img_prefix / "v1" / "images" / "000.png"
    cv2.imwrite(str(frame), np.zeros((10, 20, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"20x10 pixels, but .*a\.json says 64x48"):
        dataset[SampleKey(0, 7)]
    frame.write_bytes(b"")
    with pytest.raises(DatasetError, match="no picture"):
        dataset[SampleKey(0, 7)]
    frame.unlink()
    with pytest.raises(DatasetError, match=r"frame not found: .*000\.png \(2 files are beside"):
        dataset[SampleKey(0, 7)]


def test_names_of_frames(tmp_path):
    wanted = tmp_path / "v" / "images" / "1.png"
    assert frame_path(tmp_path, "v/images/1.png") == wanted
    assert frame_path(tmp_path, "v/rgb/1.png") == wanted
    assert frame_path(tmp_path, "v/1.png") == wanted
    (tmp_path / "v").mkdir()
    cv2.imwrite(str(tmp_path / "v" / "1.png"), np.full((2, 3, 3), (10, 20, 30), np.uint8))
    assert frame_path(tmp_path, "v/1.png") == tmp_path / "v" / "1.png"
    assert read_frame(tmp_path / "v" / "1.png")[0, 0].tolist() == [30, 20, 10]


# --- learning rates -------------------------------------------------------------------------------


@given(st.integers(1, 5000), st.integers(1, 900), st.integers(0, 12000))
def test_the_rate_warms_up_and_then_only_falls(warmup, length, iteration):
    schedule = Schedule(warmup_iters=warmup, warmup_ratio=1 / warmup)
    rate, following = (schedule.at(i, length) for i in (iteration, iteration + 1))
    assert 0 < rate <= schedule.lr * (1 + 1e-12)
    if iteration >= warmup:
        assert following <= rate
    elif (iteration + 1) // length == iteration // length:
        assert following >= rate
