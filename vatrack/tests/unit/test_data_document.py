"""The example of the documents is a joint file that is read as the text says."""

import json
import re
from pathlib import Path

import numpy as np

from vatrack.data.annotations import AnnotatedFrames, matches
from vatrack.data.settings import DatasetSettings
from vidseg_common import rle

DOCUMENT = Path(__file__).parents[3] / "docs" / "vatrack_data.md"


def test_the_joint_example(tmp_path):
    text = DOCUMENT.read_text(encoding="utf-8")
    (block,) = re.findall(r"^```json\n(.*?)^```", text, re.M | re.S)
    path = tmp_path / "example.json"
    path.write_text(json.dumps(json.loads(block)))
    data = AnnotatedFrames(DatasetSettings(path, tmp_path, two_boxes=True))
    pictures = re.search(r"frame 0 +frame 1\n(.*?)^```", text, re.M | re.S)
    rows = [line.split() for line in pictures[1].splitlines()]
    first, second = data.objects(0), data.objects(1)
    assert matches(first, second).tolist() == [0, 1]
    for frame, objects in enumerate((first, second)):
        picture = np.array([list(row[frame]) for row in rows])
        car, person = (rle.decode(mask) for mask in objects.masks)
        hidden = rle.decode(objects.amodal_masks[0]) & ~car
        assert ((picture == "#") == car).all()
        # The hidden part of the car is drawn over the person in front of it.
        assert (np.isin(picture, ["P", "o"]) == (person | hidden)).all()
        assert not (car & person).any()
    assert (first.boxes[0] != first.visible_boxes[0]).any()
    assert (second.boxes[0] == second.visible_boxes[0]).all()
