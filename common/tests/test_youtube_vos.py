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


def test_rows_and_processes(kit, meta):
    result = score(kit, meta)
    assert score(kit, meta, workers=2) == result
    late = next(row for row in result.rows if (row.video, row.object_id) == ("v_a", 2))
    assert late.frames == ("00015", "00020", "00025", "00030")
    assert late.j == pytest.approx(np.mean(late.j_frames))
    assert late.f == pytest.approx(np.mean(late.f_frames))
    assert [row["video"] for row in result.per_video()] == ["v_a", "v_b"]
    classes = {row["category"]: row for row in result.per_class()}
    assert set(classes) == {"dog", "person", "unicorn"}
    assert classes["dog"]["J"] == late.j
    assert not classes["unicorn"]["seen"]
    assert result.numbers == result.global_scores


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
