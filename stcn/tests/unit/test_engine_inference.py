"""Streaming propagation against a whole-video reference with a bank per object (spec 4.4, 4.5)."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from stcn.inference.engine import MemoryPolicy, PropagationEngine, pad_to_multiple, unpad
from stcn.model.deployed import DeployedSTCN

SIZE = (37, 53)


def aggregate(prob):
    joint = torch.cat([(1 - prob).prod(0, keepdim=True), prob]).clamp(1e-7, 1 - 1e-7)
    return (joint / (1 - joint)).log().softmax(0)


class Reference:
    """The procedure as the specification tells it: all frames and all probabilities are kept."""

    def __init__(self, network, images, annotations, *, mem_every, include_last, top_k, required):
        self.network, self.annotations = network, annotations
        self.mem_every, self.include_last, self.top_k = mem_every, include_last, top_k
        self.required = required
        self.pad = pad_to_multiple(images.shape[-2:])
        self.images = F.pad(images, self.pad)
        self.ids = []
        for f in sorted(annotations):
            self.ids += [i for i in sorted(annotations[f]) if i not in self.ids]
        count, (height, width) = len(images), self.images.shape[-2:]
        self.prob = torch.zeros(count, len(self.ids) + 1, 1, height, width)
        self.prob[:, 0] = 1e-7
        self.permanent = {i: [] for i in self.ids}
        self.temporary = dict.fromkeys(self.ids)
        self.enabled = []
        self.done = set()

    def run(self):
        starts = sorted(self.annotations)
        for start, end in zip(starts, [*starts[1:], len(self.images) - 1], strict=True):
            self.interact(start)
            self.propagate(start, end)
        return unpad(self.prob[:, :, 0], self.pad)

    def rows(self):
        return [1 + self.ids.index(i) for i in self.enabled]

    def interact(self, f):
        masks = {i: F.pad(mask, self.pad)[None] for i, mask in self.annotations[f].items()}
        self.prob[f][:, sum(masks.values()) > 0.5] = 0
        for i, mask in sorted(masks.items()):
            if i not in self.enabled:
                self.enabled.append(i)
            self.prob[f, 1 + self.ids.index(i)] = mask
        self.prob[f] = aggregate(self.prob[f, 1:])
        self.memorise(f, self.network.encode_key(self.images[f : f + 1]), permanent=True)
        self.done.add(f)

    def memorise(self, t, features, permanent):
        masks = self.prob[t, self.rows()]
        values = self.network.encode_value(self.images[t : t + 1], features.f16, masks)
        for i, value in zip(self.enabled, values, strict=True):
            self.temporary[i] = None
            pair = (features.key[0].flatten(1), value.flatten(1))
            if permanent:
                self.permanent[i].append(pair)
            else:
                self.temporary[i] = pair

    def read(self, i, features):
        stored = self.permanent[i] + [pair for pair in [self.temporary[i]] if pair is not None]
        keys, values = (torch.cat(parts, 1) for parts in zip(*stored, strict=True))
        query = features.key[0].flatten(1)
        score = -(keys[:, :, None] - query[:, None]).pow(2).sum(0) / math.sqrt(len(keys))
        best, index = score.topk(min(self.top_k, len(score)), 0)
        weight = torch.zeros_like(score).scatter(0, index, best.softmax(0))
        return (values @ weight).unflatten(1, features.key.shape[2:])

    def propagate(self, start, end):
        last = start
        for t in range(start + 1, end + 1):
            is_memory_frame = t - last >= self.mem_every
            wanted = t in self.required or t in self.annotations  # spec 4.6, right
            if not (is_memory_frame or wanted or self.include_last):
                continue
            features = self.network.encode_key(self.images[t : t + 1])
            readout = torch.stack([self.read(i, features) for i in self.enabled])
            prob = torch.sigmoid(self.network.decode(readout, features))
            self.prob[t, [0, *self.rows()]] = aggregate(prob)
            self.done.add(t)
            if t != end and (is_memory_frame or self.include_last):
                self.memorise(t, features, permanent=is_memory_frame)
            if is_memory_frame:
                last = t


def streamed(engine, images, annotations, ids, required):
    """The engine's probabilities with channels in the order of `ids`, and the frames it did."""
    prob, done = {}, set()
    for t, image in enumerate(images):
        masks = annotations.get(t)
        if engine.will_skip(has_mask=masks is not None, needed=t in required):
            engine.skip()
            continue
        result = engine.step(engine.encode([image])[0], masks, last=t == len(images) - 1)
        full = torch.zeros(len(ids) + 1, *result.shape[1:])
        full[[0, *(1 + ids.index(i) for i in engine.object_ids)]] = result
        prob[t] = full
        done.add(t)
    return prob, done


def square(top, left, side=14):
    mask = torch.zeros(SIZE)
    mask[top : top + side, left : left + side] = 1
    return mask


FIRST = {0: {7: square(20, 30), 300: square(2, 3)}}
CASES = {
    "all objects in frame 0": FIRST,
    "one object": {0: {4: square(5, 5)}},
    "later objects": {**FIRST, 4: {12: square(8, 20)}, 9: {2: square(22, 2), 1000: square(3, 35)}},
    "starts late": {3: {5: square(4, 4)}, 4: {1: square(20, 20)}},
    "correction": {**FIRST, 6: {7: square(12, 26, 18)}},
    "correction and new object": {**FIRST, 5: {1: square(8, 30), 300: square(6, 8)}},
    "annotated at the end": {0: {4: square(5, 5)}, 11: {9: square(20, 30)}},
}


@pytest.mark.parametrize("include_last", [False, True])
@pytest.mark.parametrize("mem_every", [1, 4])
@pytest.mark.parametrize("annotations", CASES.values(), ids=list(CASES))
@pytest.mark.parametrize("sparse", [False, True], ids=["every frame", "few frames"])
def test_equals_reference(network, annotations, mem_every, include_last, sparse):
    images = torch.randn(12, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    required = frozenset({7, 10, 11} if sparse else range(12))
    policy = MemoryPolicy(mem_every=mem_every, include_last=include_last, top_k=6)
    with torch.inference_mode():
        reference = Reference(
            network,
            images,
            annotations,
            mem_every=mem_every,
            include_last=include_last,
            top_k=6,
            required=required,
        )
        wanted = reference.run()
        engine = PropagationEngine(DeployedSTCN(network), policy)
        got, done = streamed(engine, images, annotations, reference.ids, required)
    first = min(annotations)
    assert {t for t in done if t >= first} == reference.done
    for t in reference.done:
        error = (got[t] - wanted[t]).abs()
        # Rounding decides here and there which memory element is the last to vote.
        assert error.mean() < 2e-5, f"frame {t}"
        assert error.max() < 5e-3, f"frame {t}"
    assert engine.object_ids == reference.ids
    assert engine.frame_idx == 11


@given(st.tuples(st.integers(1, 100), st.integers(1, 100)), st.sampled_from([8, 16]))
def test_padding(size, multiple):
    left, right, top, bottom = pad = pad_to_multiple(size, multiple)
    x = torch.rand(1, *size)
    padded = F.pad(x, pad)
    assert padded.shape[1] % multiple == padded.shape[2] % multiple == 0
    assert 0 <= right - left <= 1
    assert 0 <= bottom - top <= 1
    assert max(left + right, top + bottom) < multiple
    assert torch.equal(unpad(padded, pad), x)


def test_nothing_is_stored_after_the_last_frame(network):
    engine = PropagationEngine(DeployedSTCN(network), MemoryPolicy(mem_every=1))
    frames = engine.encode(list(torch.randn(3, 3, *SIZE)))
    engine.step(frames[0], {1: square(2, 2)})
    engine.step(frames[1])
    assert engine.memory.num_frames == 2
    engine.step(frames[2], last=True)
    assert engine.memory.num_frames == 2


def test_removed_object_is_gone_from_memory_and_result(network):
    engine = PropagationEngine(DeployedSTCN(network), MemoryPolicy(mem_every=1))
    frames = engine.encode(list(torch.randn(4, 3, *SIZE)))
    engine.step(frames[0], {1: square(2, 2), 5: square(20, 30)})
    engine.remove(1)
    assert engine.step(frames[1]).shape == (2, *SIZE)
    with pytest.raises(KeyError):
        engine.remove(1)
    engine.remove(5)
    assert torch.equal(engine.step(frames[2]), torch.ones(1, *SIZE))
    assert engine.memory.num_frames == 0
    assert engine.step(frames[3], {5: square(4, 4)}).shape == (2, *SIZE)


def test_batch_of_frames_is_encoded_as_each_alone(network):
    engine = PropagationEngine(DeployedSTCN(network), MemoryPolicy())
    images = list(torch.randn(3, 3, *SIZE))
    together, alone = engine.encode(images), [engine.encode([image])[0] for image in images]
    for a, b in zip(together, alone, strict=True):
        assert a.pad == b.pad
        assert torch.equal(a.image, b.image)
        torch.testing.assert_close(a.features.key, b.features.key, rtol=1e-4, atol=1e-5)


def test_impossible_policy_is_refused():
    with pytest.raises(ValueError, match="mem_every must be at least 1"):
        MemoryPolicy(mem_every=0)
