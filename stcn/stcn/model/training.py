"""The training forward pass over three frames (spec section 6.7).

Letters in shape comments: B batch, T = 3 frames, K = 1 or 2 objects, H W image size,
h w = H/16 W/16.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stcn.model.matching import aggregate_logits, dense_affinity, dense_readout
from stcn.model.network import STCN, FrameFeatures


class TrainingModel(nn.Module):
    """Segments frames 1 and 2 of a clip from frame 0, through its own predictions.

    Args:
        network: the network to train; `others_channel` decides between two objects and one.
    """

    def __init__(self, network: STCN) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, rgb: Tensor, masks: Tensor, selector: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Runs a clip.

        Args:
            rgb: (B, 3, 3, H, W) normalised frames.
            masks: ground truth of frame 0, (B, K, H, W).
            selector: (B, 2), 1 where the object exists; needed with two objects.

        Returns:
            `logits_1`, `logits_2` (B, K + 1, H, W) and `masks_1`, `masks_2` (B, K, H, W).
        """
        num_clips, num_frames = rgb.shape[:2]
        flat = self.network.encode_key(rgb.flatten(0, 1))  # B*T, ...
        frames = [_take(flat, t, num_clips, num_frames) for t in range(num_frames)]
        values = [self._values(rgb[:, 0], frames[0], masks)]
        out: dict[str, Tensor] = {}
        for t in (1, 2):
            keys = [frame.key for frame in frames[:t]]
            logits = self._segment(keys, values, frames[t], selector)
            predicted = logits.softmax(1)[:, 1:]
            out[f"logits_{t}"], out[f"masks_{t}"] = logits, predicted
            if t == 1:
                values.append(self._values(rgb[:, 1], frames[1], predicted))
        return out

    def _values(self, frame: Tensor, features: FrameFeatures, masks: Tensor) -> Tensor:
        """(B, K, value_dim, h, w)."""
        encode = self.network.value_encoder
        if not self.network.config.others_channel:
            return encode(frame, features.f16, masks).unsqueeze(1)
        first, second = masks[:, :1], masks[:, 1:]
        a = encode(frame, features.f16, torch.cat([first, second], 1))
        b = encode(frame, features.f16, torch.cat([second, first], 1))
        return torch.stack([a, b], 1)

    def _segment(
        self,
        keys: list[Tensor],
        values: list[Tensor],
        query: FrameFeatures,
        selector: Tensor | None,
    ) -> Tensor:
        """Aggregated logits (B, K + 1, H, W) of the query frame."""
        mem_key = torch.stack(keys, 2).flatten(2)  # B, C, t*h*w
        affinity = dense_affinity(mem_key, query.key.flatten(2))
        probs = []
        for k in range(values[0].shape[1]):
            mem_value = torch.stack([value[:, k] for value in values], 2).flatten(2)
            readout = dense_readout(affinity, mem_value).unflatten(2, query.key.shape[2:])
            g16 = torch.cat([readout, query.thin], 1)
            probs.append(torch.sigmoid(self.network.decoder(g16, query.f8, query.f4).float()))
        prob = torch.cat(probs, 1)  # B, K, H, W
        if selector is not None:
            prob = prob * selector[:, :, None, None]
        return aggregate_logits(prob, 1)


def _take(flat: FrameFeatures, t: int, num_clips: int, num_frames: int) -> FrameFeatures:
    """Features of frame t of every clip from those of all frames in one batch."""
    parts = (flat.key, flat.thin, flat.f16, flat.f8, flat.f4)
    return FrameFeatures(*(p.unflatten(0, (num_clips, num_frames))[:, t] for p in parts))
