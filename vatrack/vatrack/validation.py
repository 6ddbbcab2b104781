"""Scores of a network while it is trained (spec 5.3, 7)."""

from __future__ import annotations

from pathlib import Path

from vatrack.config import Config, dataset_settings, inference_settings, network_kind
from vatrack.data.frames import frame_path, read_frame
from vatrack.inference.predictor import Predictor
from vatrack.model.network import VATrackNet
from vatrack.outputs.annotations import clip_of
from vidseg_common.datasets import sailvos
from vidseg_common.datasets.annotations import AnnotationSet, annotations_of
from vidseg_common.files import write_text
from vidseg_common.metrics.amodal_ap import AmodalResult, evaluate

#: Model to the masks that it makes.
MASKS = {"qdtrack": "visible", "amodaltrack": "amodal"}


class Validation:
    """Segments and scores the validation set of a configuration.

    Args:
        cfg: its `data.val` is taken.

    Raises:
        UserError: the data set is missing or unusable, or has no ground truth.
    """

    def __init__(self, cfg: Config) -> None:
        self.settings = inference_settings(cfg)
        self.masks = MASKS.get(network_kind(cfg), "joint")
        self.data = dataset_settings(cfg, "val")[0]
        self.truth = sailvos.read(self.data.ann_file, images=self.data.img_prefix)

    def __call__(self, network: VATrackNet, checkpoint: Path) -> dict[str, float]:
        """Scores a network, which is left as it is.

        Args:
            network: in training.
            checkpoint: the table goes beside it, with the suffix .txt.

        Returns:
            AP and AP50 of every part that its masks allow.

        Raises:
            UserError: a frame cannot be read.
        """
        found = self.score(network)
        write_text(checkpoint.with_suffix(".txt"), found.table())
        keys = [key for key in found.numbers if key.endswith(("_AP", "_AP50"))]
        return {key: found.numbers[key] for key in keys}

    def score(self, network: VATrackNet) -> AmodalResult:
        """All numbers of a network."""
        return evaluate(self.truth, self._predict(network))

    def _predict(self, network: VATrackNet) -> AnnotationSet:
        predictor, clips = Predictor(network, self.settings), []
        for video in self.truth.videos:
            paths = (frame_path(self.data.img_prefix, name) for name in video.file_names)
            frames = list(predictor.stream(read_frame(path) for path in paths))
            clips.append(clip_of(video, frames, self.truth.categories))
        return annotations_of(clips, self.truth.categories, info={"masks": self.masks})
