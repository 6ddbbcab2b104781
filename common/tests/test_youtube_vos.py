import json
import math
from pathlib import Path

import numpy as np
import pytest

from vidseg_common.datasets.youtube_vos import ObjectMeta, read_meta
from vidseg_common.errors import DatasetError
from vidseg_common.masks import read_mask, write_mask
from vidseg_common.metrics.youtube_vos import evaluate_youtube_vos

PARITY = Path(__file__).parent / "parity"
RECORD = json.loads((PARITY / "expected_ytvos.json").read_text())
VIDEOS = np.load(PARITY / "ytvos.npz")
SEEN = set(RECORD["seen_categories"])


@pytest.fixture
def kit(tmp_path):
    for key in VIDEOS.files:
        video, kind = key.rsplit(".", 1)
        for t, mask in enumerate(VIDEOS[key]):
            write_mask(tmp_path / kind / video / f"{5 * t:05d}.png", mask)
    return tmp_path


@pytest.fixture
def meta():
    return read_meta(PARITY / "ytvos_meta.json")


def score(kit, meta, **options):
    options = {"seen_categories": SEEN, "progress": False, **options}
    return evaluate_youtube_vos(kit / "gt", meta, kit / "pred", **options)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("key", "include_first"),
    [("skip_first_annotated_frame", False), ("all_annotated_frames", True)],
)
def test_recorded_videos(kit, meta, key, include_first, workers):
    expected = RECORD[key]
    result = score(kit, meta, include_first=include_first, workers=workers)
    rows = {f"{row.video}/{row.object_id}": row for row in result.rows}
    assert set(rows) == set(expected["per_object_J_F_seen"])
    for name, (j, f, seen) in expected["per_object_J_F_seen"].items():
        np.testing.assert_allclose((rows[name].j, rows[name].f), (j, f), 0, 1e-12)
        assert rows[name].seen == seen
    for name, value in result.global_scores.items():
        assert abs(value - expected[name]) <= 1e-12


def test_ids_that_are_no_objects_are_background(kit, meta):
    before = score(kit, meta)
    for path in (kit / "pred/v_a").iterdir():
        mask = read_mask(path)
        write_mask(path, np.where(mask == 0, 77, mask))
    assert score(kit, meta) == before


def test_missing_files_are_all_listed(kit, meta):
    (kit / "pred/v_a/00010.png").unlink()
    (kit / "pred/v_b/00020.png").unlink()
    # The first frame of every object is given, nobody needs its result.
    (kit / "pred/v_b/00000.png").unlink()
    with pytest.raises(DatasetError) as caught:
        score(kit, meta)
    assert "2 problem(s)" in str(caught.value)
    assert "v_a/00010.png" in str(caught.value)
    assert "v_b/00020.png" in str(caught.value)
    (kit / "gt/v_a/00015.png").unlink()
    with pytest.raises(DatasetError, match=r"v_a: missing annotation .*00015.png"):
        score(kit, meta)


def test_groups_may_be_empty(kit, meta):
    result = score(kit, meta, seen_categories={"person", "dog", "unicorn"})
    assert math.isnan(result.j_unseen)
    assert result.overall == pytest.approx((result.j_seen + result.f_seen) / 2)
    data = json.loads(json.dumps(result.to_json()))
    assert data["global"]["J_unseen"] is None
    header, values = result.table().splitlines()
    assert header.split() == ["overall", "J_seen", "F_seen", "J_unseen", "F_unseen"]
    assert values.split()[-1] == "-"


def test_nothing_to_score(kit):
    lonely = {"v_c": {1: ObjectMeta("person", ("00000",))}}
    with pytest.raises(DatasetError, match="no object"):
        score(kit, lonely)
