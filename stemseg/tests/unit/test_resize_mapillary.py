import json

import cv2
import numpy as np
import pytest

from stemseg.commands.resize_mapillary import main
from stemseg.data.mapillary_resize import limited_size
from stemseg.data.sequences import read_image_records
from vidseg_common.datasets.mots_files import write_id_map
from vidseg_common.errors import DatasetError

PERSON, CAR, ROAD, UNLABELED = 19, 55, 13, 65


@pytest.fixture
def vistas(tmp_path):
    """Two images of 40 x 80 pixels: a person, a car and a road each."""
    root = tmp_path / "vistas"
    labels = np.full((40, 80), UNLABELED * 256)
    labels[:20, :40] = PERSON * 256 + 3
    labels[20:, 40:] = CAR * 256
    labels[20:, :40] = ROAD * 256
    for split, name in (("training", "b"), ("validation", "a")):
        for folder in ("images", "instances"):
            (root / split / folder).mkdir(parents=True)
        cv2.imwrite(
            str(root / split / "images" / f"{name}.jpg"), np.full((40, 80, 3), 77, np.uint8)
        )
        write_id_map(root / split / "instances" / f"{name}.png", labels)
    return root


def run(source, target, *flags):
    return main([str(source), str(target), "--num_workers", "0", *map(str, flags)])


def test_images_and_masks_shrink_together(vistas, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(vistas, out, "--longer_side", 20) == 0
    assert "2 images; set MAPILLARY_IMAGES_DIR=" in capsys.readouterr().out
    assert (out / "sizes.txt").read_text() == "b.jpg 20 10\na.jpg 20 10\n"
    file = read_image_records(out / "mapillary.json", out / "resized" / "images")
    assert sorted(record.path for record in file.records) == ["a.jpg", "b.jpg"]
    for record in file.records:
        assert sorted(record.categories) == [20, 56]
        assert record.mask_areas() == [50, 50]
        assert record.load_image(file.image_root).shape == (10, 20, 3)
    assert file.category_names[56] == "Car"


def test_smaller_images_stay_as_they_are(vistas, tmp_path):
    run(vistas, tmp_path / "out", "--splits", "training")
    assert (tmp_path / "out" / "sizes.txt").read_text() == "b.jpg 80 40\n"


def test_sizes_of_a_list(vistas, tmp_path):
    sizes = tmp_path / "sizes"
    sizes.write_text("a.jpg 30 12\n\nb.jpg 16 8\n")
    run(vistas, tmp_path / "out", "--size_list", sizes)
    images = json.loads((tmp_path / "out" / "mapillary.json").read_text())["images"]
    assert {i["image_path"]: (i["width"], i["height"]) for i in images} == {
        "a.jpg": (30, 12),
        "b.jpg": (16, 8),
    }


def test_what_is_there_is_not_made_again(vistas, tmp_path):
    out = tmp_path / "out"
    run(vistas, out, "--longer_side", 20)
    image = out / "resized" / "images" / "a.jpg"
    before = image.stat().st_mtime_ns
    run(vistas, out, "--longer_side", 20)
    assert image.stat().st_mtime_ns == before
    run(vistas, out, "--longer_side", 40)
    assert image.stat().st_mtime_ns != before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg 10 10\n", r"lacks 1 of 2 images, among them b\.jpg"),
        ("a.jpg 10\n", "line 1: expected NAME WIDTH HEIGHT"),
        ("a.jpg 10 0\n", "line 1: expected NAME WIDTH HEIGHT"),
        (None, "no such list of sizes"),
    ],
)
def test_bad_lists(vistas, tmp_path, text, message):
    sizes = tmp_path / "sizes"
    if text is not None:
        sizes.write_text(text)
    with pytest.raises(DatasetError, match=message):
        run(vistas, tmp_path / "out", "--size_list", sizes)


def test_damaged_and_unfitting_files(vistas, tmp_path):
    write_id_map(vistas / "training" / "instances" / "b.png", np.zeros((4, 4), np.int32))
    with pytest.raises(DatasetError, match=r"b\.png: is not of the size of"):
        run(vistas, tmp_path / "out", "--longer_side", 20)


def test_folder_that_is_no_vistas(tmp_path):
    with pytest.raises(DatasetError, match="expected a copy of Mapillary Vistas"):
        run(tmp_path, tmp_path / "out")


@pytest.mark.parametrize("flags", [("--longer_side", 0), ("--num_workers", -2)])
def test_numbers_out_of_range(vistas, tmp_path, flags, capsys):
    with pytest.raises(SystemExit):
        main([str(vistas), str(tmp_path / "out"), *map(str, flags)])
    assert flags[0] in capsys.readouterr().err


def test_limit_of_the_longer_side():
    assert limited_size(4000, 3000, 1000) == (1000, 750)
    assert limited_size(300, 400, 1000) == (300, 400)
    assert limited_size(4000, 1, 1000) == (1000, 1)
