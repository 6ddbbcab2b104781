import pytest
import torch

from stcn.ops import products


@pytest.mark.parametrize("fused", [True, False])
def test_products_of_rows(monkeypatch, fused):
    if not fused:
        monkeypatch.setattr(products, "has_fused_product", lambda: False)
    torch.manual_seed(0)
    left, right = torch.randn(37, 65), torch.randn(113, 65)
    got = products.row_products(left, right)
    assert got.shape == (37, 113)
    assert torch.allclose(got.double(), left.double() @ right.double().T, atol=1e-4)
