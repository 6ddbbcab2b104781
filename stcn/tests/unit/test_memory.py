"""The memory bank against a dense reference that keeps whole frames in lists."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stcn.inference.memory import GrowingBuffer, MemoryBank

KEY_DIM, VALUE_DIM = 6, 5


class DenseMemory:
    """Per object: a list of (key, value, given) frames and a temporary one (spec 3, 4.4, 4.5)."""

    def __init__(self, top_k, sigma=None):
        self.top_k, self.sigma = top_k, sigma
        self.frames = {}
        self.temporary = {}

    def write(self, key, values, permanent):
        self.temporary = {}
        for object_id, value in values.items():
            pair = (key[0].flatten(1).double(), value.flatten(1).double())
            if permanent:
                self.frames.setdefault(object_id, []).append(pair)
            else:
                self.temporary[object_id] = pair

    def remove(self, object_id):
        del self.frames[object_id]
        self.temporary.pop(object_id, None)

    def read(self, query, object_id):
        stored = list(self.frames[object_id])
        if object_id in self.temporary:
            stored.append(self.temporary[object_id])
        keys = torch.cat([key for key, _ in stored], 1)
        values = torch.cat([value for _, value in stored], 1)
        q = query[0].flatten(1).double()
        distance = (keys[:, :, None] - q[:, None]).pow(2).sum(0)
        scores = -distance / math.sqrt(KEY_DIM)  # N, M
        weight = (scores - scores.amax(0)).exp()
        if self.sigma is not None:
            weight = weight * self.gauss(scores, query.shape[2:])
        keep = weight.topk(min(self.top_k, len(weight)), 0).indices
        weight = torch.zeros_like(weight).scatter(0, keep, weight.gather(0, keep))
        return (values @ (weight / weight.sum(0))).unflatten(1, query.shape[2:])

    def gauss(self, scores, grid):
        best = scores.argmax(1)
        y, x = torch.arange(grid[0] * grid[1]) // grid[1], torch.arange(grid[0] * grid[1]) % grid[1]
        squared = (y[None] - y[best][:, None]) ** 2 + (x[None] - x[best][:, None]) ** 2
        return torch.exp(-squared / (2 * self.sigma**2))


def random_frame(generator, size, ids):
    key = torch.randn(1, KEY_DIM, *size, generator=generator)
    return key, {i: torch.randn(VALUE_DIM, *size, generator=generator) for i in ids}


def assert_equal_reads(bank, dense, generator, size):
    query = torch.randn(1, KEY_DIM, *size, generator=generator)
    ids = list(dense.frames)
    got = bank.read(query)
    assert got.shape == (len(ids), VALUE_DIM, *size)
    assert bank.object_ids == ids
    for row, object_id in zip(got, ids, strict=True):
        torch.testing.assert_close(row.double(), dense.read(query, object_id), rtol=0, atol=2e-4)
    chosen = ids[::-1][:2]
    torch.testing.assert_close(bank.read(query, chosen), got[[ids.index(i) for i in chosen]])


STEPS = st.lists(st.sampled_from(["enter", "permanent", "temporary", "remove"]), max_size=9)


@settings(max_examples=40, deadline=None)
@given(
    steps=STEPS,
    seed=st.integers(0, 10_000),
    size=st.tuples(st.integers(1, 5), st.integers(1, 6)),
    top_k=st.integers(1, 40),
    chunk_mb=st.sampled_from([1e-9, 3e-4, 64.0]),
    sigma=st.sampled_from([None, None, 1.5]),
)
def test_equals_dense_reference(steps, seed, size, top_k, chunk_mb, sigma):
    generator = torch.Generator().manual_seed(seed)
    bank = MemoryBank(top_k, chunk_mb=chunk_mb, kernel_sigma=sigma)
    dense = DenseMemory(top_k, sigma)
    fresh = 1
    for step in ["enter", *steps]:
        ids = list(dense.frames)
        if step == "remove" and ids:
            victim = ids[int(torch.randint(len(ids), (1,), generator=generator))]
            bank.remove(victim)
            dense.remove(victim)
        elif step == "enter" or not ids:
            ids += [300 - fresh, 1000 + fresh][: 1 + fresh % 2]
            fresh += 1
            step = "permanent"
        if step in ("permanent", "temporary"):
            key, values = random_frame(generator, size, ids)
            bank.write(key, values, permanent=step == "permanent")
            dense.write(key, values, step == "permanent")
        if dense.frames:
            assert_equal_reads(bank, dense, generator, size)


def test_frames_that_nobody_sees_are_dropped():
    generator = torch.Generator().manual_seed(0)
    bank = MemoryBank()
    for ids in ([1], [1], [1, 2], [1, 2]):
        bank.write(*random_frame(generator, (2, 3), ids), permanent=True)
    bank.write(*random_frame(generator, (2, 3), [1, 2]), permanent=False)
    query = torch.randn(1, KEY_DIM, 2, 3, generator=generator)
    before = bank.read(query, [2])
    bank.remove(1)
    assert bank.num_frames == 2
    assert bank.sizes(2) == (12, 6)
    torch.testing.assert_close(bank.read(query), before)
    bank.remove(2)
    assert (bank.num_frames, bank.object_ids) == (0, [])


def written(cap, given_frames, num_frames, entering=None):
    """A bank of so many frames; object 1 is there from the start, others enter as told."""
    generator = torch.Generator().manual_seed(3)
    bank, frames, ids = MemoryBank(4, max_frames=cap), [], [1]
    for t in range(num_frames):
        ids = ids + [i for i, when in (entering or {}).items() if when == t]
        key, values = random_frame(generator, (2, 2), [*ids])
        bank.write(key, values, permanent=True, given=t in given_frames)
        frames.append((key, values))
    return bank, frames


@pytest.mark.parametrize(
    ("cap", "given_frames", "num_frames", "kept"),
    [
        (None, {0}, 5, [0, 1, 2, 3, 4]),
        (3, {0}, 7, [0, 5, 6]),
        (2, {0}, 6, [0, 5]),
        (1, {0}, 6, [0]),
        (4, {0, 2}, 8, [0, 2, 6, 7]),
        (2, {0, 2}, 8, [0, 2]),
        (3, {0, 1, 2, 4}, 6, [0, 2, 4]),
        (1, {0, 3}, 6, [0]),
        (3, set(), 6, [0, 4, 5]),
    ],
)
def test_cap_keeps_first_and_given_frames(cap, given_frames, num_frames, kept):
    bank, frames = written(cap, given_frames, num_frames)
    assert bank.num_frames == len(kept)
    only = MemoryBank(4)
    for t in kept:
        only.write(*frames[t], permanent=True)
    torch.testing.assert_close(bank.stored_values(1), only.stored_values(1))
    query = torch.randn(1, KEY_DIM, 2, 2, generator=torch.Generator().manual_seed(9))
    torch.testing.assert_close(bank.read(query), only.read(query))


@pytest.mark.parametrize("cap", [1, 2, 3])
def test_cap_with_late_objects(cap):
    """An object that enters late starts with its own frame and never loses its only one."""
    bank, frames = written(cap, {0, 2, 5}, 9, {20: 2, 50: 5})
    query = torch.randn(1, KEY_DIM, 2, 2, generator=torch.Generator().manual_seed(9))
    assert torch.isfinite(bank.read(query)).all()
    for object_id, entry in ((1, 0), (20, 2), (50, 5)):
        assert bank.sizes(object_id)[0] >= 4
        stored = bank.stored_values(object_id)
        candidates = [v[object_id].flatten(1).T for _, v in frames[entry:]]
        assert all(
            any(torch.equal(part, candidate) for candidate in candidates)
            for part in stored.split(4)
        )
    assert bank.num_frames <= max(cap, 3)


def test_cap_and_temporary_slot():
    bank, frames = written(2, {0}, 5)
    generator = torch.Generator().manual_seed(4)
    temporary = random_frame(generator, (2, 2), [1])
    bank.write(*temporary, permanent=False)
    assert bank.sizes(1) == (8, 4)
    torch.testing.assert_close(bank.stored_values(1)[8:], temporary[1][1].flatten(1).T)
    bank.write(*frames[0], permanent=True)
    assert bank.sizes(1) == (8, 0)


def test_workspace_stays_below_the_bound():
    generator = torch.Generator().manual_seed(0)
    bank = MemoryBank(4, chunk_mb=0.001)
    for _ in range(30):
        bank.write(*random_frame(generator, (4, 4), [1]), permanent=True)
        bank.read(torch.randn(1, KEY_DIM, 4, 4, generator=generator))
        one_row = bank.sizes(1)[0] * 4 / 2**20
        assert bank.workspace_mb <= max(0.001, one_row)


def test_reads_inside_and_outside_inference_mode():
    generator = torch.Generator().manual_seed(0)
    bank = MemoryBank()
    with torch.inference_mode():
        bank.write(*random_frame(generator, (2, 3), [1]), permanent=True)
        query = torch.randn(1, KEY_DIM, 2, 3, generator=generator)
        inside = bank.read(query)
    torch.testing.assert_close(bank.read(query), inside)
    bank.write(*random_frame(generator, (2, 3), [1]), permanent=True)
    bank.read(query)


def test_large_keys_do_not_overflow():
    bank = MemoryBank(2)
    key = 1e4 * torch.randn(1, KEY_DIM, 2, 2, generator=torch.Generator().manual_seed(0))
    bank.write(key, {1: torch.arange(4.0).view(1, 2, 2)}, permanent=True)
    torch.testing.assert_close(bank.read(key)[0, 0], torch.arange(4.0).view(2, 2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_values(dtype):
    generator = torch.Generator().manual_seed(0)
    exact, half = MemoryBank(20), MemoryBank(20)
    for _ in range(3):
        key, values = random_frame(generator, (4, 4), [1, 2])
        exact.write(key, values, permanent=True)
        half.write(key, {i: v.to(dtype) for i, v in values.items()}, permanent=True)
    query = torch.randn(1, KEY_DIM, 4, 4, generator=generator)
    got = half.read(query)
    assert got.dtype == dtype
    torch.testing.assert_close(got.float(), exact.read(query), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("wrong", [{"top_k": 0}, {"max_frames": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be at least 1"):
        MemoryBank(**wrong)


def test_growing_buffer_keeps_its_rows():
    buffer = GrowingBuffer(2, torch.float32, torch.device("cpu"))
    rows = torch.arange(400.0).view(200, 2)
    for start in range(0, 200, 3):
        buffer.write(start, rows[start : start + 3])
    torch.testing.assert_close(buffer.rows(0, 200), rows)
    buffer.remove(10, 50, 200)
    torch.testing.assert_close(buffer.rows(0, 150), torch.cat([rows[:10], rows[60:]]))
