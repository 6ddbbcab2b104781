from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from stmask.inference.enlarge import enlarge

sides = st.integers(1, 24)


@settings(deadline=None)
@given(sides, sides, st.tuples(st.integers(1, 70), st.integers(1, 70)), st.integers(0, 2**32 - 1))
def test_equals_bilinear_interpolation(height, width, size, seed):
    rng = np.random.default_rng(seed)
    masks = rng.random((3, height, width)).astype(np.float32)
    masks[1] *= rng.random((height, width)) < 0.1
    masks[2] = 0
    small = torch.from_numpy(masks)[None].double()
    soft = F.interpolate(small, size, mode="bilinear", align_corners=False)[0].numpy()
    is_clear = np.abs(soft - 0.5) > 1e-6
    result = enlarge(masks, size)
    assert result.shape == (3, *size) and result.dtype == np.bool_
    assert np.array_equal(result[is_clear], (soft > 0.5)[is_clear])


@pytest.mark.parametrize("shape", [(0, 4, 5), (2, 0, 5)])
def test_no_mask_and_no_pixel(shape):
    assert not enlarge(np.ones(shape, np.float32), (3, 7)).any()
