"""Freed memory that the process keeps."""

import platform

import torch

from vidseg_common.allocator import keep_freed_memory


def test_keeping_freed_memory_is_asked_for_once_and_tensors_still_work() -> None:
    kept = keep_freed_memory()
    assert kept is keep_freed_memory()
    assert not kept or platform.libc_ver()[0] == "glibc"
    large = torch.ones(12_000_000)
    assert float(large.add(1).mean()) == 2.0
