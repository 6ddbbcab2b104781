"""The operator: both forms agree, gradients are right, and it does without a compiler."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from devis.ops import native
from devis.ops.ms_deform_attn import level_starts, ms_deform_attn, plain_pytorch

SHAPES = [(5, 7), (3, 4), (1, 1)]
POSITIONS = sum(h * w for h, w in SHAPES)


def _inputs(channels: int = 4, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    made = torch.Generator().manual_seed(0)
    value = torch.randn(2, POSITIONS, 2, channels, dtype=dtype, generator=made)
    locations = torch.rand(2, 6, 2, 3, 2, 2, dtype=dtype, generator=made) * 1.5 - 0.25
    weights = torch.rand(2, 6, 2, 3, 2, dtype=dtype, generator=made)
    return [x.requires_grad_() for x in (value, locations, weights)]


def _run(inputs: list[Tensor], start: Tensor | None = None) -> Tensor:
    value, locations, weights = inputs
    return ms_deform_attn(
        value, SHAPES, level_starts(SHAPES) if start is None else start, locations, weights
    )


@pytest.fixture(scope="module")
def _compiled() -> None:
    if native.load() is None:
        pytest.skip("no compiler")


@pytest.mark.usefixtures("_compiled")
@pytest.mark.parametrize("channels", [1, 4, 32, 64])
def test_both_forms_agree_with_their_gradients(channels: int) -> None:
    inputs = _inputs(channels)
    fast = _run(inputs)
    with plain_pytorch():
        plain = _run(inputs)
    torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-10)
    grad = torch.randn(fast.shape, dtype=fast.dtype, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad(fast, inputs, grad)
    for got, want in zip(ours, torch.autograd.grad(plain, inputs, grad), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("_compiled")
def test_gradients_by_finite_differences() -> None:
    assert torch.autograd.gradcheck(lambda *inputs: _run(list(inputs)), _inputs())


@pytest.mark.usefixtures("_compiled")
def test_the_operator_keeps_the_rules_of_torch() -> None:
    value, locations, weights = _inputs()
    start = torch.tensor([level_starts(SHAPES)] * 2)
    sizes = [side for shape in SHAPES for side in shape]
    torch.library.opcheck(
        torch.ops.devis.ms_deform_attn.default,
        (value.detach().flatten(0, 1).requires_grad_(), sizes, start, locations, weights),
    )


@pytest.mark.usefixtures("_compiled")
def test_rows_of_other_items_are_read_in_place() -> None:
    value, locations, weights = _inputs()
    rows = torch.tensor([level_starts(SHAPES)] * 2) + torch.tensor([[POSITIONS], [0]])
    out = ms_deform_attn(value, SHAPES, rows, locations, weights)
    want = _run([value.flip(0), locations, weights])
    torch.testing.assert_close(out, want)
    got = torch.autograd.grad(out.sum(), value)[0]
    torch.testing.assert_close(got, torch.autograd.grad(want.sum(), value)[0])


@pytest.mark.usefixtures("_compiled")
def test_shared_rows_add_up_their_gradients() -> None:
    value, locations, weights = _inputs()
    rows = torch.tensor([level_starts(SHAPES)] * 2)  # both items read the first
    got = torch.autograd.grad(ms_deform_attn(value, SHAPES, rows, locations, weights).sum(), value)[
        0
    ]
    with plain_pytorch():
        plain = ms_deform_attn(value, SHAPES, rows, locations, weights)
    torch.testing.assert_close(got, torch.autograd.grad(plain.sum(), value)[0])


def test_half_precision_is_accumulated_in_float32() -> None:
    inputs = [x.detach().float() for x in _inputs(32)]
    want = _run(inputs)
    half = _run([inputs[0].bfloat16(), *inputs[1:]])
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), want, rtol=0.02, atol=0.02)


def test_levels_outside_of_value_are_refused() -> None:
    inputs = _inputs()
    with pytest.raises((RuntimeError, IndexError)):
        _run(inputs, torch.tensor([[0, 35, 2 * POSITIONS]] * 2))


def test_without_a_compiler_it_says_so_once_and_runs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("no compiler\nmore")

    inputs = _inputs()
    with plain_pytorch():
        want = _run(inputs)
    monkeypatch.setattr(native, "build", broken)
    native.load.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, logger="devis.ops"):
            torch.testing.assert_close(_run(inputs), want)
            _run(inputs)
        assert [r.getMessage().count("no compiler") for r in caplog.records] == [1]
    finally:
        native.load.cache_clear()


def _in_subprocess(script: str, tmp_path: Path, **environment: str) -> None:
    """Runs a file beside this one; Triton reads the environment once, when it is imported."""
    pytest.importorskip("triton")
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(script))],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_gpu_kernels_agree_when_interpreted(tmp_path: Path) -> None:
    _in_subprocess("interpret_gpu_kernels.py", tmp_path, TRITON_INTERPRET="1")


def test_gpu_kernels_compile_for_gpus(tmp_path: Path) -> None:
    _in_subprocess("compile_gpu_kernels.py", tmp_path, TRITON_INTERPRET="0")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_forms_agree_on_a_gpu(dtype: torch.dtype) -> None:
    assert native.load_gpu() is not None
    inputs = [x.detach().to("cuda").requires_grad_() for x in _inputs(32, dtype)]
    fast = _run(inputs)
    with plain_pytorch():
        plain = _run(inputs)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10
    torch.testing.assert_close(fast, plain, rtol=tolerance, atol=tolerance)
    grad = torch.randn_like(fast)
    ours = torch.autograd.grad(fast, inputs, grad)
    for got, want in zip(ours, torch.autograd.grad(plain, inputs, grad), strict=True):
        torch.testing.assert_close(got, want, rtol=10 * tolerance, atol=10 * tolerance)
