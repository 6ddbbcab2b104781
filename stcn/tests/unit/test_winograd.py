import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from stcn.ops.winograd import Winograd3x3, transforms


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_transforms_compute_a_correlation_exactly(dtype):
    input_matrix, kernel_matrix, output_matrix = transforms(dtype)
    gen = torch.Generator().manual_seed(0)
    image = torch.randn(6, 6, generator=gen, dtype=torch.float64)
    kernel = torch.randn(3, 3, generator=gen, dtype=torch.float64)
    product = (input_matrix @ image.flatten()) * (kernel_matrix @ kernel.flatten())
    want = F.conv2d(image[None, None], kernel[None, None])[0, 0]
    assert torch.allclose((output_matrix @ product).view(4, 4), want, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 2), st.integers(1, 9), st.integers(1, 7), st.integers(1, 23), st.integers(1, 23)
)
def test_equals_the_direct_form_at_any_size(num, channels, outputs, height, width):
    gen = torch.Generator().manual_seed(height * 31 + width)
    x = torch.randn(num, channels, height, width, generator=gen)
    weight = torch.randn(outputs, channels, 3, 3, generator=gen)
    bias = torch.randn(outputs, generator=gen)
    got = Winograd3x3(weight, bias, chunk_mb=0.001)(x)
    want = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    assert got.shape == want.shape
    assert (got - want).abs().max() < 2e-4 * max(1.0, float(want.abs().max()))


@pytest.mark.parametrize("bias", [True, False])
def test_sum_and_relu_are_applied(bias):
    torch.manual_seed(1)
    x, add = torch.randn(2, 8, 10, 13), torch.randn(2, 5, 10, 13)
    conv = torch.nn.Conv2d(8, 5, 3, padding=1, bias=bias).requires_grad_(False)
    got = Winograd3x3(conv.weight, conv.bias)(x, add=add, relu=True)
    assert torch.allclose(got, torch.relu(conv(x) + add), atol=1e-5)
    assert float(got.min()) == 0


def test_wide_convolution_is_as_exact_as_the_direct_one():
    torch.manual_seed(2)
    x, weight = torch.randn(1, 256, 21, 33), torch.randn(256, 256, 3, 3) / 48
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    error = (Winograd3x3(weight, None)(x) - exact).abs().max() / exact.std()
    assert float(error) < 5e-5


def test_bfloat16_stays_within_its_stated_rounding():
    torch.manual_seed(3)
    x, add = torch.randn(1, 128, 22, 35).relu().bfloat16(), torch.randn(1, 32, 22, 35).bfloat16()
    weight, bias = torch.randn(32, 128, 3, 3) / 34, torch.randn(32)
    exact = F.conv2d(x.double(), weight.bfloat16().double(), bias.bfloat16().double(), padding=1)
    got = Winograd3x3(weight.bfloat16(), bias.bfloat16())(x)
    assert got.dtype == torch.bfloat16
    error = (got.double() - exact).pow(2).mean().sqrt() / exact.std()
    assert float(error) < 0.02
    summed = Winograd3x3(weight.bfloat16(), bias.bfloat16())(x, add=add, relu=True)
    want = torch.relu(exact + add.double())
    assert float((summed.double() - want).abs().max()) < 0.15 * float(exact.std())
