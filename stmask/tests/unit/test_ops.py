"""Operators against their definitions: values, gradients, and the checks that PyTorch has."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stmask.ops import correlation as module
from stmask.ops.correlation import correlate, unfolded_correlate
from stmask.ops.deform_conv import deform_conv2d, direct_deform_conv2d


def maps(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *shape, generator=generator, dtype=dtype).unbind(0)


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 2),
    st.integers(1, 3),
    st.integers(1, 7),
    st.integers(1, 7),
    st.sampled_from([1, 3, 5]),
    st.integers(1, 3),
)
def test_correlation_is_the_unfolded_one(batch, channels, height, width, patch, dilation):
    x1, x2 = maps(batch, channels, height, width)
    got = correlate(x1, x2, patch, dilation)
    assert torch.allclose(got, unfolded_correlate(x1, x2, patch, dilation))


def test_one_product_by_hand():
    x1, x2 = torch.zeros(1, 1, 4, 5), torch.zeros(1, 1, 4, 5)
    x1[0, 0, 1, 2], x2[0, 0, 2, 4] = 3, 5
    out = correlate(x1, x2, 5)
    assert out[0, 3, 4, 1, 2] == 15  # one row below and two columns to the right
    assert out.count_nonzero() == 1


@pytest.mark.parametrize("chunk", [1, 200, 1 << 24])
@pytest.mark.parametrize("dilation", [1, 2])
def test_gradients_of_correlation(monkeypatch, chunk, dilation):
    monkeypatch.setattr(module, "CHUNK_VALUES", chunk)
    x1, x2 = (x.requires_grad_() for x in maps(2, 2, 4, 3))
    assert torch.autograd.gradcheck(lambda a, b: correlate(a, b, 3, dilation), (x1, x2))


def test_operator_is_registered_as_it_should_be():
    x1, x2 = (x.requires_grad_() for x in maps(2, 3, 5, 4, dtype=torch.float32))
    torch.library.opcheck(torch.ops.stmask.correlation, (x1, x2, 3, 1))
    grad = torch.randn(2, 3, 3, 5, 4)
    arguments = (grad, x1.detach(), x2.detach(), 3, 1)
    torch.library.opcheck(torch.ops.stmask.correlation_backward, arguments)


def test_correlation_refuses_what_does_not_fit():
    x = torch.zeros(1, 2, 3, 3)
    with pytest.raises(ValueError, match="two maps"):
        correlate(x, x[:, :1])
    with pytest.raises(ValueError, match="odd window"):
        correlate(x, x, 4)


@pytest.mark.parametrize(("kernel", "stride"), [((3, 3), 1), ((3, 5), 1), ((5, 3), 2)])
@pytest.mark.parametrize("modulated", [False, True])
def test_deformable_convolution_is_its_definition(kernel, stride, modulated):
    generator = torch.Generator().manual_seed(1)
    padding, taps = (kernel[0] // 2, kernel[1] // 2), kernel[0] * kernel[1]
    size = [(n + 2 * p - k) // stride + 1 for n, p, k in zip((6, 7), padding, kernel, strict=True)]

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, weight, bias = draw(2, 3, 6, 7), draw(4, 3, *kernel), draw(4)
    offset = 2 * draw(2, 2 * taps, *size)  # some samples fall outside
    mask = draw(2, taps, *size).sigmoid() if modulated else None
    arguments = (x, offset, weight, bias, (stride, stride), padding, (1, 1), mask)
    assert torch.allclose(deform_conv2d(*arguments), direct_deform_conv2d(*arguments))


def test_no_offset_is_an_ordinary_convolution():
    x, _ = maps(1, 3, 5, 6)
    weight = torch.randn(2, 3, 3, 5, dtype=torch.float64)
    got = direct_deform_conv2d(x, x.new_zeros(1, 30, 5, 6), weight, padding=(1, 2))
    assert torch.allclose(got, torch.nn.functional.conv2d(x, weight, padding=(1, 2)))
