"""Compiles the GPU kernels for several generations of GPUs; that needs none of them."""

from __future__ import annotations

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from devis.ops import gpu

CONSTANTS = {"D": 32, "BLOCK": gpu.BLOCK}
COUNTS = ("total", "queries", "heads", "levels", "points", "channels")


def compile_for(kernel: triton.JITFunction, capability: int, rows: str, numbers: str) -> None:
    """Down to machine code."""
    kinds = dict.fromkeys(kernel.arg_names, f"*{numbers}")
    kinds |= {"rows": f"*{rows}", "sizes": "*i32", "start": "*i64"}
    kinds |= dict.fromkeys(COUNTS, "i32") | dict.fromkeys(CONSTANTS, "constexpr")
    source = ASTSource(
        kernel, signature={k: kinds[k] for k in kernel.arg_names}, constexprs=CONSTANTS
    )
    assert triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"]


if __name__ == "__main__":
    for kernel in (gpu._forward_kernel, gpu._backward_kernel):
        for capability in (80, 90, 100):
            compile_for(kernel, capability, "fp32", "fp32")
        compile_for(kernel, 90, "bf16", "fp32")
        compile_for(kernel, 90, "fp64", "fp64")
