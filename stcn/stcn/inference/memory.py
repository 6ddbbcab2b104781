"""The memory of a running video: keys once for all objects, values per object (spec section 3).

Letters in shape comments: N memory elements (frames times h*w), M query positions, C key
channels, V value channels, h w feature size at stride 16.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from stcn.model.matching import kernel_scores, topk_weights
from stcn.ops.products import row_products


class GrowingBuffer:
    """Rows appended to pre-allocated storage that doubles when full; never concatenated."""

    def __init__(self, width: int, dtype: torch.dtype, device: torch.device) -> None:
        self._data = torch.empty((0, width), dtype=dtype, device=device)

    def write(self, start: int, rows: Tensor) -> None:
        """Puts `rows` (n, width) at row `start`, growing if needed."""
        end = start + rows.shape[0]
        if end > self._data.shape[0]:
            # A small first block: most videos are short, and growth by doubling is cheap.
            capacity = max(end, min(2 * self._data.shape[0], self._data.shape[0] + 64 * len(rows)))
            grown = self._data.new_empty((capacity, self._data.shape[1]))
            grown[:start] = self._data[:start]
            self._data = grown
        self._data[start:end] = rows

    def rows(self, start: int, end: int) -> Tensor:
        """A view of rows start..end-1."""
        return self._data[start:end]

    def remove(self, start: int, count: int, end: int) -> None:
        """Drops `count` rows at `start` and moves the rows up to `end` forward."""
        self._data[start : end - count] = self._data[start + count : end].clone()


class _ObjectValues:
    """Values of one object, aligned with the keys from element `start` on."""

    def __init__(self, start: int, buffer: GrowingBuffer) -> None:
        self.start = start
        self.buffer = buffer


class MemoryBank:
    """Permanent frames plus one temporary slot, read by top-k matching.

    Objects that entered at different frames share the keys; an object sees only the elements
    written since it entered, as if it had a bank of its own (spec sections 4.5 and 8.20).

    Args:
        top_k: memory elements that vote for each query position.
        max_frames: permanent frames kept; None keeps all (the published setting). When it is
            exceeded the oldest frame that carries no given mask is dropped; when all do, the
            oldest one after the first. The first frame always stays, and an object never loses
            its only frame.
        chunk_mb: bound on the extra memory of one read, in MiB.
        kernel_sigma: standard deviation of the kernelised read, None for the plain one.
    """

    def __init__(
        self,
        top_k: int = 20,
        *,
        max_frames: int | None = None,
        chunk_mb: float = 64.0,
        kernel_sigma: float | None = None,
    ) -> None:
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}")
        if max_frames is not None and max_frames < 1:
            raise ValueError(f"max_frames must be at least 1, got {max_frames}")
        self.top_k = top_k
        self.max_frames = max_frames
        self.chunk_mb = chunk_mb
        self.kernel_sigma = kernel_sigma
        self._keys: GrowingBuffer | None = None
        self._objects: dict[int, _ObjectValues] = {}
        self._given: list[bool] = []  # one entry per permanent frame: does it carry a given mask?
        self._frame_size = 0
        self._num_temporary = 0
        self._workspace_size = 0

    @property
    def num_frames(self) -> int:
        """Permanent frames."""
        return len(self._given)

    @property
    def object_ids(self) -> list[int]:
        """Objects in the memory, in order of entry."""
        return list(self._objects)

    @property
    def workspace_mb(self) -> float:
        """Extra memory of the reads so far, in MiB: never more than `chunk_mb` or one row."""
        return self._workspace_size * 4 / 2**20

    def sizes(self, object_id: int) -> tuple[int, int]:
        """Permanent and temporary elements that a read of this object uses."""
        permanent = self.num_frames * self._frame_size - self._objects[object_id].start
        return permanent, self._num_temporary

    def stored_values(self, object_id: int) -> Tensor:
        """All values of an object, (N, V), permanent ones first; for inspection."""
        return self._objects[object_id].buffer.rows(0, sum(self.sizes(object_id)))

    @torch.inference_mode()
    def write(
        self, key: Tensor, values: dict[int, Tensor], *, permanent: bool, given: bool = False
    ) -> None:
        """Stores a frame; whatever is in the temporary slot is dropped first.

        Args:
            key: (1, C, h, w).
            values: of every object, object id to (V, h, w). Objects not in the memory yet
                enter with this frame, which must then be permanent.
            permanent: keep the frame; otherwise it goes to the temporary slot.
            given: the frame carries a mask given by the user (see `max_frames`).
        """
        rows = _augmented_keys(key)
        self._frame_size = rows.shape[0]
        end = self.num_frames * self._frame_size
        if self._keys is None:
            self._keys = GrowingBuffer(rows.shape[1], rows.dtype, rows.device)
        self._keys.write(end, rows)
        for object_id, value in values.items():
            flat = value.flatten(1).T  # h*w, V
            if object_id not in self._objects:
                assert permanent, "an object enters with a permanent frame"
                buffer = GrowingBuffer(flat.shape[1], flat.dtype, flat.device)
                self._objects[object_id] = _ObjectValues(end, buffer)
            entry = self._objects[object_id]
            entry.buffer.write(end - entry.start, flat)
        self._num_temporary = 0 if permanent else self._frame_size
        if permanent:
            self._given.append(given)
            self._evict()

    @torch.inference_mode()
    def remove(self, object_id: int) -> None:
        """Forgets an object, and the oldest frames as far as none of the others sees them."""
        del self._objects[object_id]
        seen_from = [entry.start for entry in self._objects.values()]
        if not seen_from:
            self._keys, self._given, self._num_temporary = None, [], 0
        elif min(seen_from):
            self._drop_frames(0, min(seen_from) // self._frame_size)

    @torch.inference_mode()
    def read(self, query: Tensor, object_ids: list[int] | None = None) -> Tensor:
        """Read-outs of the objects for one query frame.

        Args:
            query: key of the frame, (1, C, h, w).
            object_ids: which objects, default all in order of entry.

        Returns:
            (K, V, h, w) in the dtype of the stored values.
        """
        ids = self.object_ids if object_ids is None else object_ids
        columns = {object_id: [] for object_id in ids}  # type: dict[int, list[Tensor]]
        num_elements = self.num_frames * self._frame_size + self._num_temporary
        flat = query[0].flatten(1).float()  # C, M
        num_queries = flat.shape[1]
        rows = max(1, int(self.chunk_mb * 2**20 / (4 * max(1, num_elements))))
        if self.kernel_sigma is not None:
            rows = num_queries  # the best query position of an element needs all of them
        for begin in range(0, num_queries, rows):
            scores = self._scores(query, flat[:, begin : begin + rows])  # m, N
            for start, members in self._groups(ids).items():
                weights, index = self._weights(scores[:, start:])
                for object_id in members:
                    values = self._objects[object_id].buffer.rows(0, num_elements - start)
                    columns[object_id].append(_gather(values, weights, index))
        out = torch.stack([torch.cat(parts) for parts in columns.values()])  # K, M, V
        return out.transpose(1, 2).unflatten(2, query.shape[2:])

    @torch.inference_mode()
    def weights(self, query: Tensor, object_id: int) -> tuple[Tensor, Tensor]:
        """Weights and memory indices, each (M, k), of one object's read; for inspection."""
        scores = self._scores(query, query[0].flatten(1).float())
        return self._weights(scores[:, self._objects[object_id].start :])

    def _scores(self, query: Tensor, flat: Tensor) -> Tensor:
        assert self._keys is not None, "read before the first write"
        keys = self._keys.rows(0, self.num_frames * self._frame_size + self._num_temporary)
        if self.kernel_sigma is not None:
            return _kernel_scores_from_rows(keys, flat, query.shape[2:], self.kernel_sigma)
        ones = flat.new_ones((1, flat.shape[1]))
        queries = torch.cat([flat, ones]).T.contiguous()  # m, C + 1
        self._workspace_size = max(self._workspace_size, len(queries) * len(keys))
        return row_products(queries, keys)

    def _weights(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        if self.kernel_sigma is None:
            return topk_weights(scores, self.top_k)
        best, index = scores.topk(min(self.top_k, scores.shape[1]), dim=1)
        return best / best.sum(1, keepdim=True), index

    def _groups(self, object_ids: list[int]) -> dict[int, list[int]]:
        """Objects by the element from which on they see the memory."""
        groups: dict[int, list[int]] = {}
        for object_id in object_ids:
            groups.setdefault(self._objects[object_id].start, []).append(object_id)
        return groups

    def _evict(self) -> None:
        while self.max_frames is not None and self.num_frames > self.max_frames:
            frame = self._least_useful()
            if frame is None:
                return
            self._drop_frames(frame, 1)

    def _least_useful(self) -> int | None:
        """The frame that makes room for the newest, which may be the newest itself."""
        newest = self.num_frames - 1
        predicted = [i for i in range(1, self.num_frames) if not self._given[i]]
        if predicted:
            return predicted[0]
        if newest > 1:
            return 1
        entered = any(e.start == newest * self._frame_size for e in self._objects.values())
        return None if entered else newest

    def _drop_frames(self, frame: int, count: int) -> None:
        assert self._keys is not None
        first, size = frame * self._frame_size, count * self._frame_size
        end = self.num_frames * self._frame_size + self._num_temporary
        self._keys.remove(first, size, end)
        for entry in self._objects.values():
            if entry.start > first:
                entry.start -= size
            else:
                entry.buffer.remove(first - entry.start, size, end - entry.start)
        del self._given[frame : frame + count]


def _augmented_keys(key: Tensor) -> Tensor:
    """Rows (h*w, C + 1) whose product with (query, 1) is the similarity of spec section 3."""
    flat = key[0].flatten(1).float()  # C, h*w
    scale = 1 / math.sqrt(flat.shape[0])
    return torch.cat([2 * scale * flat, -scale * flat.pow(2).sum(0, keepdim=True)]).T.contiguous()


def _kernel_scores_from_rows(rows: Tensor, flat: Tensor, grid: torch.Size, sigma: float) -> Tensor:
    scale = 2 / math.sqrt(rows.shape[1] - 1)
    return kernel_scores(rows[:, :-1].T / scale, flat, (grid[0], grid[1]), sigma)


def _gather(values: Tensor, weights: Tensor, index: Tensor) -> Tensor:
    """Sum of the voted values: (N, V), (m, k), (m, k) to (m, V); never a dense matrix."""
    return F.embedding_bag(index, values, per_sample_weights=weights.to(values.dtype), mode="sum")
