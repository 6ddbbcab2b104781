"""The straightforward form of STEm-Seg's inference, the baseline of `bench_stemseg.py`.

Order of operations of the published implementation (specification sections 8 and 9): all frames
read first, backbone frame by frame with the frozen norm apart, features kept for the clips that
share a frame, decoders on whole clips, logits enlarged and summed, then clustering in a loop over
instances with an entry for every point, and masks enlarged one by one.

Letters: P points, E embedding dimensions, F free ones, T frames, H and W of a map.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from stemseg.inference.clips import Clip, subsequences
from stemseg.inference.cluster import ClusterRule
from stemseg.inference.engine import EngineSettings
from stemseg.inference.preprocess import FrameGeometry, prepare
from stemseg.model.network import STEmSeg

FAR = 1e8


def plain_cluster(
    embeddings: Tensor, bandwidths: Tensor, seediness: Tensor, rule: ClusterRule, first_label: int
) -> Tensor:
    """Labels (P,) of points: every instance looks at every point.

    Args:
        embeddings: (P, E).
        bandwidths: (P, E - F), inverse variances.
        seediness: (P,).
        rule: settings.
        first_label: of the first instance.
    """
    free = torch.tensor([1 / std**2 for std in rule.free_dim_stds])
    labels = torch.full((len(seediness),), -1, dtype=torch.int64)
    available = labels == -1
    distances: list[Tensor] = []
    for number in range(rule.max_instances):
        available = labels == -1
        if not available.any():
            break
        best = torch.where(available, seediness, -1.0).argmax()
        if seediness[best] < rule.min_seediness:
            break
        bandwidth = torch.cat([bandwidths[best], free])
        difference = embeddings[available] - embeddings[best]
        distance = (difference.pow(2) * bandwidth).sum(1).sqrt()
        of_all = torch.full_like(seediness, FAR)
        of_all[available] = distance
        distances.append(of_all)
        taken = torch.zeros_like(available)
        taken[available] = (-0.5 * distance).exp() > rule.primary_prob
        labels[taken] = first_label + number
    if available.any() and distances:
        farthest, which = torch.stack(distances).max(0)
        near = available & ((-0.5 * farthest).exp() > rule.secondary_prob)
        labels[near] = which[near] + first_label
    return labels


class PlainChainer:
    """Clusters clip after clip and joins the instances of shared frames, a pass for every pair."""

    def __init__(self, rule: ClusterRule) -> None:
        self.rule = rule
        self.labels: dict[int, Tensor] = {}
        self.highest = 0

    def add(self, clip: Sequence[int], maps: Mapping[str, Tensor], foreground: Tensor) -> None:
        """Takes the maps (C, T, H, W) of a clip and the foreground (T, H, W) of its frames."""
        points = {
            name: torch.cat([x[:, i][:, foreground[i]] for i in range(len(clip))], 1).T.contiguous()
            for name, x in maps.items()
        }  # P, C
        flat = plain_cluster(
            *(points["embeddings"], points["bandwidths"], points["seediness"][:, 0]),
            *(self.rule, self.highest + 1),
        )
        found = dict(zip(clip, flat.split([int(x.sum()) for x in foreground]), strict=True))
        pairs = self._pairs([t for t in clip if t in self.labels], found)
        for t in clip:
            if t in self.labels:
                continue
            labels = found[t]
            for ours, theirs in pairs:
                labels = torch.where(found[t] == ours, theirs, labels)
            self.labels[t] = labels
            if len(labels):
                self.highest = max(self.highest, int(labels.max()))

    def _pairs(self, shared: Sequence[int], found: Mapping[int, Tensor]) -> list[tuple[int, int]]:
        if not shared:
            return []
        ours = torch.cat([found[t] for t in shared])
        theirs = torch.cat([self.labels[t] for t in shared])
        columns = [i for i in ours.unique().tolist() if i != -1]
        rows = [i for i in theirs.unique().tolist() if i != -1]
        cost = np.ones((len(rows), len(columns)))
        for a, row in enumerate(rows):
            for b, column in enumerate(columns):
                both = ((theirs == row) & (ours == column)).sum().item()
                either = ((theirs == row) | (ours == column)).sum().item()
                cost[a, b] = 1 - both / either
        assigned = zip(*linear_sum_assignment(cost), strict=True)
        return sorted((columns[b], rows[a]) for a, b in assigned)


@dataclass
class PlainResult:
    """What a video gives.

    Attributes:
        labels: (H, W) map of every frame: 0 background, -1 outlier.
        masks: (H, W) mask of every kept instance in every frame that shows it, by label.
        categories: of the kept instances; empty without classes.
        seconds: by stage.
    """

    labels: list[NDArray[np.integer]] = field(default_factory=list)
    masks: list[dict[int, NDArray[np.bool_]]] = field(default_factory=list)
    categories: dict[int, int] = field(default_factory=dict)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the time of a block to a stage."""
        started = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - started


class PlainPath:
    """Segments videos.

    Args:
        network: in eval mode.
        settings: of the engine; batch sizes and precision are not looked at.
        max_tracks: instances kept.
    """

    def __init__(self, network: STEmSeg, settings: EngineSettings, max_tracks: int) -> None:
        self.network, self.settings, self.max_tracks = network, settings, max_tracks
        self.device = next(network.parameters()).device

    @torch.inference_mode()
    def run(self, frames: Sequence[np.ndarray]) -> PlainResult:
        """Segments (H, W, 3) uint8 RGB frames."""
        result = PlainResult()
        with result.timed("preparation"):
            inputs = [prepare(f[..., ::-1], self.settings.input, self.device) for f in frames]
        clips = subsequences(len(frames), self.settings.clip_length, self.settings.overlap)
        maps, scores = self._maps([x for x, _ in inputs], clips, result)
        with result.timed("clustering"):
            foreground = self._foreground(scores)
            chainer = PlainChainer(self.settings.cluster)
            for clip, of_clip in zip(clips, maps, strict=True):
                shown = list(clip.last_positions)
                chainer.add(shown, of_clip, torch.stack([foreground[t] for t in shown]))
            for t in range(len(frames)):
                labels = torch.zeros(foreground[t].shape, dtype=torch.int64)
                labels[foreground[t]] = chainer.labels[t]
                result.labels.append(labels.numpy())
        with result.timed("output"):
            self._output(result, scores, inputs[0][1])
        return result

    def _maps(
        self, images: Sequence[Tensor], clips: Sequence[Clip], result: PlainResult
    ) -> tuple[list[dict[str, Tensor]], list[Tensor]]:
        """Maps of every clip, and the mean logits (or seediness) of every frame."""
        features: dict[int, list[Tensor]] = {}
        maps: list[dict[str, Tensor]] = []
        sums: list[Tensor | int] = [0] * len(images)
        counts = [0] * len(images)
        for number, clip in enumerate(clips):
            for t in clip.last_positions:
                if t not in features:
                    with result.timed("backbone"):
                        features[t] = self.network.backbone(images[t][None])
                        self._wait()
            of_clip, logits = self._decode([features[t] for t in clip.frames], clip, result)
            maps.append(of_clip)
            with result.timed("averaging"):
                for position, t in enumerate(clip.frames):
                    sums[t] = sums[t] + logits[:, position]
                    counts[t] += 1
            later = clips[number + 1].frames[0] if number + 1 < len(clips) else len(images)
            features = {t: x for t, x in features.items() if t >= later}
        return maps, [torch.as_tensor(x) / n for x, n in zip(sums, counts, strict=True)]

    def _decode(
        self, frames: Sequence[list[Tensor]], clip: Clip, result: PlainResult
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Maps (C, T, H, W) of a clip, every frame once, and its logits (or seediness)."""
        levels = [torch.stack([x[i][0] for x in frames], 1)[None] for i in range(4)]
        network = self.network
        with result.timed("embedding decoder"):
            embeddings, raw, seediness = network.embedding_head(levels)
            self._wait()
        if network.seediness_head is not None:
            with result.timed("seediness decoder"):
                seediness = network.seediness_head(levels)
                self._wait()
        logits = seediness
        if network.semseg_head is not None:
            with result.timed("semantic decoder"):
                logits = network.semseg_head(levels)
                self._wait()
        with result.timed("averaging"):
            at = list(clip.last_positions.values())
            maps = {"embeddings": embeddings, "bandwidths": 10 * raw.exp(), "seediness": seediness}
            of_clip = {name: self._at_scale(x)[0][:, at].cpu() for name, x in maps.items()}
            return of_clip, self._at_scale(logits)[0].cpu()

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _at_scale(self, x: Tensor) -> Tensor:
        if not self.settings.full_scale:
            return x
        return F.interpolate(x, scale_factor=(1, 4, 4), mode="trilinear", align_corners=False)

    def _foreground(self, scores: Sequence[Tensor]) -> list[Tensor]:
        if self.network.semseg_head is None:
            return [x[0] > self.settings.seediness_thresh for x in scores]
        return [x[-1].sigmoid() > 0.5 for x in scores]

    def _output(
        self, result: PlainResult, scores: Sequence[Tensor], geometry: FrameGeometry
    ) -> None:
        """Masks of the longest-lived instances, and their classes by mean logits."""
        times: dict[int, list[int]] = defaultdict(list)
        for t, labels in enumerate(result.labels):
            for label in np.unique(labels[labels > 0]).tolist():
                times[label].append(t)
        kept = sorted(times, key=lambda label: times[label][0] - times[label][-1])
        kept = kept[: self.max_tracks]
        for labels in result.labels:
            shown = set(np.unique(labels).tolist()).intersection(kept)
            result.masks.append({label: enlarged(labels == label, geometry) for label in shown})
        if self.settings.classes == "scores":
            for label in kept:
                chosen = [scores[t][1:-1][:, result.labels[t] == label] for t in times[label]]
                result.categories[label] = int(torch.cat(chosen, 1).mean(1).argmax()) + 1


def enlarged(mask: NDArray[np.bool_], geometry: FrameGeometry) -> NDArray[np.bool_]:
    """A mask at the size of the frame."""
    x = torch.from_numpy(mask).float()[None, None]
    if mask.shape != geometry.padded:
        x = F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False)
    x = x[..., : geometry.network[0], : geometry.network[1]]
    x = F.interpolate(x, geometry.image, mode="bilinear", align_corners=False)
    return (x[0, 0] > 0.5).numpy()
