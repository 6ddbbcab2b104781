"""Frame-by-frame segmentation of a video, the public interface of inference."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from stcn.inference.engine import EncodedFrame, MemoryPolicy, PropagationEngine
from stcn.inference.preprocess import (
    inner_size,
    normalise,
    one_hot,
    resize_frame,
    resize_masks,
    resize_prob,
    to_index_map,
)
from stcn.model.deployed import DeployedSTCN
from stcn.model.network import STCN
from vidseg_common.errors import MaskError, VideoError
from vidseg_common.masks import object_ids as ids_in_mask

AMP_DTYPES = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Prediction:
    """What one step gives.

    Attributes:
        inner_prob: background and objects, (K + 1, h, w) float32 at the inner size, sum one.
        object_ids: ids of channels 1..K, ascending.
        size: height and width of the frame.
    """

    inner_prob: Tensor
    object_ids: tuple[int, ...]
    size: tuple[int, int]

    @cached_property
    def prob(self) -> Tensor:
        """Probabilities (K + 1, H, W) at the frame's size."""
        return resize_prob(self.inner_prob, self.size)

    @cached_property
    def mask(self) -> np.ndarray:
        """Index map (H, W) with the objects' own ids."""
        return to_index_map(self.prob, self.object_ids)


class Predictor:
    """Segments a video as its frames arrive.

    >>> predictor = Predictor(load("stcn.pth"), size=480)
    >>> predictor.step(first_frame, first_mask)
    >>> labels = predictor.step(second_frame).mask

    Args:
        network: from `stcn.load`; it is not changed.
        policy: memory settings.
        size: shorter side at which frames are processed; None keeps their own size.
        amp: "off", "bf16" (CPU and GPU) or "fp16" (GPU).
        device: where to run; None takes the network's device.
    """

    def __init__(
        self,
        network: STCN,
        *,
        policy: MemoryPolicy | None = None,
        size: int | None = None,
        amp: str = "off",
        device: str | torch.device | None = None,
    ) -> None:
        if amp not in AMP_DTYPES:
            raise ValueError(f"amp must be one of {sorted(AMP_DTYPES)}, got {amp!r}")
        device = torch.device(device) if device is not None else next(network.parameters()).device
        if amp == "fp16" and device.type == "cpu":
            raise ValueError("amp='fp16' needs a GPU; on a CPU use 'bf16' or 'off'")
        if size is not None and size < 16:
            raise ValueError(f"size must be at least 16, got {size}")
        if network.training or device != next(network.parameters()).device:
            network = copy.deepcopy(network).eval().to(device)
        deployed = DeployedSTCN(network, AMP_DTYPES[amp])
        self.engine = PropagationEngine(deployed, policy or MemoryPolicy())
        self.size = size
        self._frame_size: tuple[int, int] | None = None

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Objects that are followed, ascending."""
        return tuple(sorted(self.engine.object_ids))

    def reset(self) -> None:
        """Forgets everything; the next step starts a new video, of any size."""
        self.engine.reset()
        self._frame_size = None

    def remove(self, object_id: int) -> None:
        """Stops following an object.

        Raises:
            MaskError: the id is not followed.
        """
        if object_id not in self.engine.object_ids:
            raise MaskError(f"object {object_id} is not followed; there are {self.object_ids}")
        self.engine.remove(object_id)

    def step(
        self,
        frame: np.ndarray,
        mask: np.ndarray | None = None,
        object_ids: Sequence[int] | None = None,
    ) -> Prediction:
        """Advances one frame.

        Args:
            frame: RGB uint8 (H, W, 3), the same size through the video.
            mask: index map (H, W), any integer type. An unknown id enters the video here, a
                known id is corrected; 0 means "not labelled" (spec section 4.5).
            object_ids: the ids in the mask to use; None takes all but 0. A followed object
                listed here but absent from the mask is thereby said to be gone from the frame.

        Returns:
            The segmentation of this frame.

        Raises:
            VideoError: the frame's size differs from the frames before.
            MaskError: the mask's size differs from the frame's, it holds no ids, or an unknown
                id is not in it.
        """
        masks = self._given_masks(frame, mask, object_ids)
        return self._advance(self._encode([frame])[0], masks, last=False)

    def stream(
        self,
        frames: Iterable[np.ndarray],
        masks: Mapping[int, np.ndarray],
        *,
        needed: frozenset[int] | None = None,
        encode_batch: int = 1,
    ) -> Iterator[tuple[int, Prediction | None]]:
        """Segments a whole video, encoding frames ahead in batches.

        Args:
            frames: RGB uint8 images in order.
            masks: frame index to given index map.
            needed: frame indices whose result is wanted, None for all; a frame that is neither
                wanted, nor remembered, nor annotated is not computed at all.
            encode_batch: frames per pass of the key encoder.

        Yields:
            Frame index and result, None for frames that were not computed or lie before the
            first object.
        """
        for batch in _batches(_with_last(frames), encode_batch):
            plan = [self._is_skipped(i, masks, needed) for i, _, _ in batch]
            if len(batch) > 1 and any(plan):
                plan = [False] * len(batch)  # the memory frames ahead are not known yet
            images = [image for skip, (_, image, _) in zip(plan, batch, strict=True) if not skip]
            encoded = iter(self._encode(images) if images else [])
            for skip, (i, image, last) in zip(plan, batch, strict=True):
                if skip:
                    self.engine.skip()
                    yield i, None
                    continue
                given = self._given_masks(image, masks.get(i), None)
                result = self._advance(next(encoded), given, last=last)
                yield i, (result if result.object_ids else None)

    def _is_skipped(
        self, i: int, masks: Mapping[int, np.ndarray], needed: frozenset[int] | None
    ) -> bool:
        wanted = needed is None or i in needed
        return self.engine.will_skip(has_mask=i in masks, needed=wanted)

    def _encode(self, images: Sequence[np.ndarray]) -> list[EncodedFrame]:
        for i, image in enumerate(images, self.engine.frame_idx + 1):
            self._check_frame(image, i)
        assert self._frame_size is not None
        inner = inner_size(self._frame_size, self.size)
        device = self.engine.device
        return self.engine.encode([resize_frame(normalise(x, device), inner) for x in images])

    def _advance(
        self, frame: EncodedFrame, masks: dict[int, Tensor] | None, *, last: bool
    ) -> Prediction:
        assert self._frame_size is not None
        prob = self.engine.step(frame, masks, last=last)
        ids = self.engine.object_ids
        if ids != sorted(ids):
            order = [0, *(1 + ids.index(object_id) for object_id in sorted(ids))]
            prob = prob[order]
        return Prediction(prob, tuple(sorted(ids)), self._frame_size)

    def _given_masks(
        self, frame: np.ndarray, mask: np.ndarray | None, object_ids: Sequence[int] | None
    ) -> dict[int, Tensor] | None:
        if mask is None:
            return None
        if mask.shape != frame.shape[:2]:
            raise MaskError(
                f"mask is {_size_text(mask.shape)} but its frame is {_size_text(frame.shape[:2])}"
            )
        if mask.dtype.kind not in "biu" or (mask.size and mask.min() < 0):
            raise MaskError(f"a mask holds object ids from 0 on, not {mask.dtype} values")
        present = ids_in_mask(mask)
        ids = present if object_ids is None else [int(i) for i in object_ids]
        absent = [i for i in ids if i not in present and i not in self.engine.object_ids]
        if absent:
            raise MaskError(f"objects {absent} are not in the mask, which has {present or 'none'}")
        if not ids:
            return None  # an empty annotation says nothing (spec section 8, item 6)
        device = self.engine.device
        inner = inner_size((frame.shape[0], frame.shape[1]), self.size)
        planes = resize_masks(one_hot(mask, ids, device), inner)
        return dict(zip(ids, planes, strict=True))

    def _check_frame(self, frame: np.ndarray, frame_idx: int) -> None:
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise VideoError(f"frame must be RGB uint8 (H, W, 3), got {frame.dtype} {frame.shape}")
        size = (frame.shape[0], frame.shape[1])
        if self._frame_size is None:
            self._frame_size = size
        elif size != self._frame_size:
            raise VideoError(
                f"frame {frame_idx} is {_size_text(size)}, "
                f"the frames before are {_size_text(self._frame_size)}"
            )


def _size_text(shape: Sequence[int]) -> str:
    return "x".join(str(side) for side in (*reversed(shape[:2]), *shape[2:]))


def _with_last(frames: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray, bool]]:
    """Index, image, and whether no frame follows."""
    previous: np.ndarray | None = None
    index = -1
    for index, image in enumerate(frames):
        if previous is not None:
            yield index - 1, previous, False
        previous = image
    if previous is not None:
        yield index, previous, True


def _batches(
    items: Iterable[tuple[int, np.ndarray, bool]], size: int
) -> Iterator[list[tuple[int, np.ndarray, bool]]]:
    batch: list[tuple[int, np.ndarray, bool]] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
