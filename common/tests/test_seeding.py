import random

import numpy as np
import pytest
import torch

from vidseg_common.checkpoint import load_checkpoint, save_atomic
from vidseg_common.seeding import WorkerSeeder, capture_rng, restore_rng, seed_everything


@pytest.fixture(autouse=True)
def keep_rng():
    state = capture_rng()
    yield
    restore_rng(state)


def draw():
    return (
        [random.random(), random.gauss(0, 1), random.randint(0, 10**9)],
        np.random.rand(3).tolist(),  # noqa: NPY002
        np.random.randn(3).tolist(),  # noqa: NPY002
        torch.rand(3).tolist(),
        torch.randn(5).tolist(),
    )


def test_same_seed_same_draws():
    seed_everything(5)
    first = draw()
    seed_everything(5)
    assert draw() == first
    seed_everything(6)
    assert draw() != first


def test_capture_survives_a_file_bit_for_bit(tmp_path):
    seed_everything(3)
    draw()  # odd numbers of gaussians leave a cached one behind
    save_atomic(capture_rng(), tmp_path / "rng.pth")
    expected = [draw(), draw()]
    seed_everything(99)
    draw()
    restore_rng(load_checkpoint(tmp_path / "rng.pth"))
    assert [draw(), draw()] == expected


def test_seed_out_of_range():
    for seed in (-1, 2**32):
        with pytest.raises(ValueError, match="seed"):
            seed_everything(seed)


def test_deterministic_mode_is_set():
    try:
        seed_everything(0, deterministic=True)
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.benchmark
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = False


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_other_number_of_devices_warns():
    state = capture_rng()
    state["cuda"] = [torch.zeros(16, dtype=torch.uint8)]
    with pytest.warns(UserWarning, match="not bit for bit"):
        restore_rng(state)


class Draws(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return np.random.randint(2**31 - 1), random.random()  # noqa: NPY002


def loader_draws(rank):
    torch.manual_seed(1)
    loader = torch.utils.data.DataLoader(
        Draws(), batch_size=1, num_workers=2, worker_init_fn=WorkerSeeder(rank)
    )
    return [(int(number), float(fraction)) for number, fraction in loader]


def test_workers_and_ranks_draw_differently_but_repeatably():
    first = loader_draws(rank=0)
    assert len(set(first)) == len(first)
    assert loader_draws(rank=0) == first
    assert not set(loader_draws(rank=1)) & set(first)
