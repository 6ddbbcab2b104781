"""HOTA, CLEAR and Identity of a set of sequences, equal to the tracking tool.

All three are computed per class from the same overlaps, after predictions inside ignore regions
have been removed. An IoU of exactly 0.5 is a match here, unlike in `mots`.
Source: spec common section 6.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vidseg_common.datasets.annotations import AnnotationSet
from vidseg_common.datasets.mots_files import CLASS_NAMES
from vidseg_common.errors import DatasetError
from vidseg_common.metrics.clear_mot import ClearCounts, combine_clear, count_clear
from vidseg_common.metrics.hota_scores import HotaScores, combine_hota, drop_ignored, score_hota
from vidseg_common.metrics.identity import IdentityCounts, combine_identity, count_identity
from vidseg_common.metrics.mots_data import ClassSequence, overlaps_of_pair, select_class
from vidseg_common.metrics.mots_tables import (
    detailed_text,
    family_table,
    json_numbers,
    mean_over_classes,
    summary_text,
)
from vidseg_common.metrics.sequence_pairs import (
    SequencePair,
    pair_clips,
    pair_files,
    score_pairs,
)

__all__ = [
    "COMBINED",
    "FAMILIES",
    "HotaResult",
    "TrackScores",
    "combine_scores",
    "evaluate",
    "evaluate_files",
    "evaluate_pairs",
    "score_sequence",
]

COMBINED = "COMBINED"
FAMILIES = ("HOTA", "CLEAR", "Identity")
_HEADLINE = ("HOTA", "DetA", "AssA", "LocA", "MOTA", "sMOTA", "MOTP", "IDSW", "IDF1")


@dataclass(frozen=True)
class TrackScores:
    """Everything of one class, of one sequence or of all.

    Attributes:
        hota: HOTA.
        clear: CLEAR.
        identity: Identity.
        num_pred_tracks: predicted tracks.
        num_gt_tracks: ground-truth tracks.
        num_frames: frames, all of them.
        joined: these are the scores of all sequences.
    """

    hota: HotaScores
    clear: ClearCounts
    identity: IdentityCounts
    num_pred_tracks: int
    num_gt_tracks: int
    num_frames: int
    joined: bool = False

    def families(self, *, compat: bool = False) -> dict[str, dict[str, Any]]:
        """Numbers of "HOTA", "CLEAR", "Identity" and "Count" by the names of the tool.

        Args:
            compat: quirks of the tool included, see `ClearCounts.numbers`.
        """
        return {
            "HOTA": {**self.hota.curves(), **self.hota.at_lowest()},
            "CLEAR": self.clear.numbers(compat=compat, joined=self.joined),
            "Identity": self.identity.numbers(),
            "Count": {
                "Dets": self.clear.tp + self.clear.fp,
                "GT_Dets": self.clear.tp + self.clear.fn,
                "IDs": self.num_pred_tracks,
                "GT_IDs": self.num_gt_tracks,
                "Frames": self.num_frames,
            },
        }

    def numbers(self, *, compat: bool = False) -> dict[str, float]:
        """All numbers in one row; curves as their mean over the thresholds."""
        return {
            key: float(np.mean(value)) if isinstance(value, np.ndarray) else value
            for family in self.families(compat=compat).values()
            for key, value in family.items()
        }


def score_sequence(sequence: ClassSequence, *, compat: bool = False) -> TrackScores:
    """Scores one class of one sequence.

    Args:
        sequence: its overlaps, ignored predictions included.
        compat: quirks of the tool included, see `count_clear`.
    """
    kept = drop_ignored(sequence)
    return TrackScores(
        hota=score_hota(kept),
        clear=count_clear(kept, compat=compat),
        identity=count_identity(kept),
        num_pred_tracks=kept.num_pred_tracks,
        num_gt_tracks=kept.num_gt_tracks,
        num_frames=len(kept.frames),
    )


def combine_scores(parts: Iterable[TrackScores]) -> TrackScores:
    """Joins the sequences of a class."""
    held = list(parts)
    return TrackScores(
        hota=combine_hota([part.hota for part in held]),
        clear=combine_clear([part.clear for part in held]),
        identity=combine_identity([part.identity for part in held]),
        num_pred_tracks=sum(part.num_pred_tracks for part in held),
        num_gt_tracks=sum(part.num_gt_tracks for part in held),
        num_frames=sum(part.num_frames for part in held),
        joined=True,
    )


@dataclass(frozen=True)
class HotaResult:
    """HOTA, CLEAR and Identity of a set of sequences.

    Attributes:
        scores: scores of every sequence of every class, by the names of both.
        families: which of HOTA, CLEAR and Identity tables and files show.
        compat: whether quirks of the tool are included.
    """

    scores: Mapping[str, Mapping[str, TrackScores]]
    families: Sequence[str] = FAMILIES
    compat: bool = False

    def total(self, class_name: str) -> TrackScores:
        """Scores of a class over all sequences."""
        return combine_scores(self.scores[class_name].values())

    @property
    def numbers(self) -> dict[str, float]:
        """Headline: the mean of HOTA over classes with ground truth, then each class."""
        totals = {name: self.total(name) for name in self.scores}
        values = {name: total.numbers(compat=self.compat) for name, total in totals.items()}
        present = [name for name, total in totals.items() if total.num_gt_tracks]
        return mean_over_classes("HOTA", values, present) | {
            f"{name}/{key}": row[key] for name, row in values.items() for key in _HEADLINE
        }

    def per_class(self) -> list[dict[str, Any]]:
        """All numbers of every class over all sequences."""
        return [
            {"class": name, **self.total(name).numbers(compat=self.compat)} for name in self.scores
        ]

    def per_video(self) -> list[dict[str, Any]]:
        """All numbers of every sequence and class."""
        return [
            {"video": video, "class": name, **scores.numbers(compat=self.compat)}
            for name, videos in self.scores.items()
            for video, scores in videos.items()
        ]

    def rows(self, class_name: str) -> dict[str, dict[str, dict[str, Any]]]:
        """Numbers of the wanted families of every sequence, then of all as "COMBINED"."""
        wanted = (*self.families, "Count")
        parts = {**self.scores[class_name], COMBINED: self.total(class_name)}
        return {
            video: {key: scores.families(compat=self.compat)[key] for key in wanted}
            for video, scores in parts.items()
        }

    def to_json(self) -> dict[str, Any]:
        """Everything at full precision; curves are lists of 19 values."""
        return {
            "metric": "hota",
            "classes": {
                name: {
                    video: {key: _plain(values) for key, values in families.items()}
                    for video, families in self.rows(name).items()
                }
                for name in self.scores
            },
        }

    def table(self, title: str = "predictions") -> str:
        """The tables as the tracking tool prints them, one per class and family.

        Args:
            title: name of the tracker.
        """
        return "\n".join(
            family_table(f"{title}-{name}", family, self.rows(name))
            for name in self.scores
            for family in (*self.families, "Count")
        )

    def files(self) -> dict[str, str]:
        """Texts of CLASS_summary.txt and CLASS_detailed.csv of every class, by file name."""
        texts: dict[str, str] = {}
        for name in self.scores:
            rows = self.rows(name)
            texts[f"{name}_summary.txt"] = summary_text(rows[COMBINED])
            texts[f"{name}_detailed.csv"] = detailed_text(rows)
        return texts


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    curves = {key: v.tolist() for key, v in values.items() if isinstance(v, np.ndarray)}
    return {
        **values,
        **json_numbers({k: v for k, v in values.items() if k not in curves}),
        **curves,
    }


def evaluate(
    truth: AnnotationSet,
    predictions: AnnotationSet,
    *,
    compat: bool = False,
    workers: int = 1,
    progress: bool = False,
) -> HotaResult:
    """Scores predictions against a data set; videos are paired by name, masks may overlap.

    Args:
        truth: the data set. Crowds count as ignore regions.
        predictions: its results, with the same videos and numbers of classes.
        compat: quirks of the tracking tool included.
        workers: number of processes.
        progress: shows a bar on stderr.

    Raises:
        DatasetError: videos that do not fit.
    """
    pairs = pair_clips(truth, predictions)
    return evaluate_pairs(
        pairs, truth.category_names(), compat=compat, workers=workers, progress=progress
    )


def evaluate_files(
    results: str | Path,
    truth: str | Path,
    sequences: Iterable[tuple[str, int]],
    *,
    compat: bool = False,
    workers: int = 1,
    progress: bool = False,
) -> HotaResult:
    """Scores MOTS result files; arguments and errors as in `mots.evaluate_files`."""
    pairs = pair_files(Path(results), Path(truth), sequences)
    return evaluate_pairs(pairs, CLASS_NAMES, compat=compat, workers=workers, progress=progress)


def evaluate_pairs(
    pairs: Sequence[SequencePair],
    classes: Mapping[int, str],
    *,
    compat: bool = False,
    workers: int = 1,
    progress: bool = False,
) -> HotaResult:
    """Scores sequences, wherever their objects come from.

    Args:
        pairs: the sequences.
        classes: names of the classes to score, by number.
        compat: quirks of the tracking tool included.
        workers: number of processes.
        progress: shows a bar on stderr.

    Raises:
        DatasetError: malformed files or masks that do not fit; all problems in one message.
    """
    if not classes:
        raise DatasetError("the ground truth has no classes to score")
    score = partial(_score, class_ids=tuple(classes), compat=compat)
    found = score_pairs(score, pairs, workers=workers, progress=progress)
    scores = {
        name: {video: parts[class_id] for video, parts in found.items()}
        for class_id, name in classes.items()
    }
    return HotaResult(scores, compat=compat)


def _score(pair: SequencePair, class_ids: Sequence[int], compat: bool) -> dict[int, TrackScores]:
    overlaps = overlaps_of_pair(pair)
    return {
        class_id: score_sequence(select_class(overlaps, class_id), compat=compat)
        for class_id in class_ids
    }
