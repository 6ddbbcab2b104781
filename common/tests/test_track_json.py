"""The text of a track decodes to what `json.loads` makes of it, or fails as that does."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidseg_common.datasets.track_json import load_track

MASKS = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {"size": st.just([3, 4]), "counts": st.lists(st.integers(0, 2**40), max_size=5)}
    ),
    st.fixed_dictionaries({"counts": st.text(max_size=4), "size": st.just([3, 4])}),
)


def plain(value):
    """Arrays as lists, without the run of no ones that was added."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


def even(value):
    """What the lists of run lengths are expected to be."""
    for mask in value["segmentations"]:
        if mask is not None and isinstance(mask["counts"], list) and len(mask["counts"]) % 2:
            mask["counts"].append(0)
    return value


@settings(max_examples=200, deadline=None)
@given(st.lists(MASKS, max_size=4), st.text(max_size=5), st.sampled_from([None, 1]))
def test_equals_the_decoder_of_python(masks, note, indent):
    text = json.dumps({"note": note, "segmentations": masks}, indent=indent)
    got = load_track(text.encode())
    arrays = [m for m in got["segmentations"] if m and isinstance(m["counts"], np.ndarray)]
    want = json.loads(text)
    assert plain(got) == (even(want) if arrays else want)


def test_lists_become_arrays():
    text = '{"segmentations": [{"size": [2, 2], "counts": [1, 3]}, null, {"counts": [4]}]}'
    masks = load_track(text.encode())["segmentations"]
    assert [masks[0]["counts"].tolist(), masks[1], masks[2]["counts"].tolist()] == [
        *([1, 3], None, [4, 0])
    ]
    assert masks[0]["counts"].dtype == np.int64


@pytest.mark.parametrize(
    "counts",
    [
        *("1,,2", "1 2", "01, 2", "1, 02", ",1", "1,", "1,\n", "00", "1, 2 3", "+1", "1e", "1, "),
        *(", 1", " , 1", "1, , 2", "1,  , 2", "1, 2 ,", "010", "1, 00", "1 ,01"),
    ],
)
def test_lists_that_are_not_json_are_refused(counts):
    for other in ("1, 3", counts):
        text = f'{{"segmentations": [{{"counts": [{other}]}}, {{"counts": [{counts}]}}]}}'
        with pytest.raises(ValueError):
            load_track(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        '{"segmentations": [{"counts": [1.5, 2]}, {"counts": [1, 2]}]}',
        '{"segmentations": [{"counts": [-1, 2]}, {"counts": [[]]}]}',
        '{"segmentations": [{"counts": [[]]}, {"counts": [1]}]}',
        '{"segmentations": [{"counts": [1]}], "extra": {"counts": [1]}}',
        '{"segmentations": [{"counts": [1], "counts": [2]}]}',
        r'{"segmentations": [null], "a\"counts": [1]}',
        '{"segmentations": [{"counts": []}], "score": NaN}',
        '[{"counts": [1]}]',
        '{"segmentations": [{"counts": [1, 2]}, {"counts":[1,2]}]}',
        '{"segmentations": [{"counts": [ 1 ,2, 0,  10 ]}, {"counts": [0, 1]}]}',
        '{"segmentations": 5, "counts": [1]}',
    ],
)
def test_what_is_unusual_is_decoded_as_by_python(text):
    np.testing.assert_equal(plain(load_track(text.encode())), json.loads(text))
