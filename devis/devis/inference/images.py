"""Instances of single images (spec 8.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from devis.config_tree import Config
from devis.data.resize import pad_batch, preprocess
from devis.inference.predictor import Image, Stopwatch, in_format
from devis.inference.selection import ImageSelection, Size, paste_masks, select_images
from devis.model.detector import DeformableDETR, Detections
from devis.model.segmenter import MaskHeadModel
from vidseg_common import rle
from vidseg_common.allocator import keep_freed_memory
from vidseg_common.rle import RLE

#: Masks that are enlarged at once; results do not depend on it.
MASKS_AT_ONCE = 16


@dataclass(frozen=True)
class ImageResult:
    """Predictions of an image, best first; K of them.

    Attributes:
        scores: (K) in 0 to 1.
        labels: (K) numbers of categories, from 1.
        boxes: (K, 4) corners x, y, x, y in pixels.
        masks: run lengths, or None of a detector without masks.
    """

    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float32]
    masks: list[RLE] | None

    def entries(self, image_id: int) -> list[dict[str, Any]]:
        """As in the result file of COCO."""
        found = []
        for place, (left, top, right, bottom) in enumerate(self.boxes.tolist()):
            entry = {
                "image_id": image_id,
                "category_id": int(self.labels[place]),
                "bbox": [left, top, right - left, bottom - top],
                "score": float(self.scores[place]),
            }
            found.append(entry | ({"segmentation": self.masks[place]} if self.masks else {}))
        return found


class ImagePredictor:
    """Finds and segments the instances of images.

    Args:
        network: for images; it is used as it is and gets no gradients.
        cfg: its sections INPUT and TEST count.
        device: where to run; the network has to be there.
        dtype: number format of the network; what follows it is float32.

    Attributes:
        times: what the network took.
    """

    def __init__(
        self,
        network: DeformableDETR | MaskHeadModel,
        cfg: Config,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.network, self.cfg, self.dtype = network, cfg, dtype
        self.device = device or next(network.parameters()).device
        self.times = Stopwatch(self.device)
        if self.device.type == "cpu":
            keep_freed_memory()

    @torch.inference_mode()
    def run(self, images: Sequence[Image]) -> list[ImageResult]:
        """Takes a batch of images.

        Args:
            images: (H, W, 3) uint8 RGB, of any sizes.
        """
        limits = self.cfg.INPUT.MIN_SIZE_TEST, self.cfg.INPUT.MAX_SIZE_TEST
        samples = [preprocess(image, *limits) for image in images]
        sizes: list[Size] = [(image.shape[0], image.shape[1]) for image in images]
        with self.times("forward"), in_format(self.device, self.dtype):
            batch = pad_batch(samples)
            found, kept = self._detect(batch.images, batch.mask, sizes)
            masks = [None] * len(images) if found is None else self._masks(found, kept)
        network_sizes: list[Size] = [(x.shape[1], x.shape[2]) for x in samples]
        padded = batch.mask.shape[1], batch.mask.shape[2]
        self.times.num_frames += len(images)
        results = []
        for place, logits in enumerate(masks):
            encoded = None
            if logits is not None:
                encoded = _encode(logits, (padded, network_sizes[place], sizes[place]))
            results.append(
                ImageResult(
                    kept.scores[place].cpu().numpy(),
                    kept.labels[place].cpu().numpy() + 1,
                    kept.boxes[place].cpu().numpy(),
                    encoded,
                )
            )
        return results

    def _detect(
        self, images: Tensor, padding: Tensor, sizes: Sequence[Size]
    ) -> tuple[Detections | None, ImageSelection]:
        """Detections where the network has masks, and what is kept of them."""
        network = self.network
        detector = network.def_detr if isinstance(network, MaskHeadModel) else network
        detections = detector(images.to(self.device), padding.to(self.device))
        test = self.cfg.TEST
        kept = select_images(
            detections.logits[-1].float(),
            detections.boxes[-1].float(),
            sizes,
            test.NUM_OUT,
            top_k=test.USE_TOP_K,
        )
        return (detections if isinstance(network, MaskHeadModel) else None), kept

    def _masks(self, detections: Detections, kept: ImageSelection) -> list[Tensor]:
        """(K, h, w) logits of every image; a query with several classes is computed once."""
        assert isinstance(self.network, MaskHeadModel)
        pairs = [torch.unique(queries, return_inverse=True) for queries in kept.queries]
        masks = self.network.masks(detections, [queries for queries, _ in pairs])[:, 0].float()
        parts = masks.split([len(queries) for queries, _ in pairs])
        return [part[inverse] for part, (_, inverse) in zip(parts, pairs, strict=True)]


def _encode(logits: Tensor, sizes: tuple[Size, Size, Size]) -> list[RLE]:
    """Run lengths of (K, h, w) masks, given the sizes of batch, network's and original image."""
    padded, network, original = sizes
    found = []
    for part in logits.split(MASKS_AT_ONCE):
        (masks,) = paste_masks(part[None], padded, [network], [original])
        found += [rle.encode(mask) for mask in masks[:, 0].cpu().numpy()]
    return found
