"""Names of released files, and the network with its settings behind any file of weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from vatrack.checkpoint import Checkpoint, guess_settings, load_network, read_checkpoint
from vatrack.config import Config, inference_settings, load_config, model_settings
from vatrack.inference.settings import InferenceSettings
from vatrack.model.network import VATrackNet
from vatrack.outputs.store import Masks
from vidseg_common.datasets.sailvos import CLASS_NAMES
from vidseg_common.errors import CheckpointError, ConfigError

#: Name to the published file and to its configuration (spec 1).
RELEASED = {
    "QDTrack": ("ckpts_trained/QDTrack/best_ckpts_X101.pth", "QDTrack_SAILVOScut"),
    "QDbasedAmodalTrack": (
        "ckpts_trained/QDbasedAmodalTrack/best_ckpts_X101.pth",
        "QDbasedAmodalTrack_SAILVOScut",
    ),
    "QDbasedVATrack": (
        "ckpts_trained/QDbasedVATrack/mask_amo1.0+vis1.0.pth",
        "QDbasedVATrack_SAILVOScut",
    ),
    "QDbasedVATrack_twobbox": (
        "ckpts_trained/QDbasedVATrack_2bbox/qdbased_vatrack_2bbox.pth",
        "QDbasedVATrack_twobbox_SAILVOScut",
    ),
}
#: Mask R-CNN of COCO that the X101 configurations start from: name and file.
START = ("resnext101_64_4d", "ckpts/resnext101_64_4d.pth")
_MASKS: dict[str, Masks] = {"qdtrack": "visible", "amodaltrack": "amodal"}


@dataclass(frozen=True)
class Model:
    """A network and what belongs to it.

    Attributes:
        path: of the weights.
        network: in eval mode.
        inference: settings of inference.
        classes: names, in the order of labels.
    """

    path: Path
    network: VATrackNet
    inference: InferenceSettings
    classes: tuple[str, ...]

    @property
    def masks(self) -> Masks:
        """Which masks it makes."""
        return masks_of(self.network.settings.kind)

    def cut_visible(self) -> Model:
        """The same with visible masks cut at the amodal ones.

        Raises:
            ConfigError: the network does not make both.
        """
        if self.masks != "joint":
            raise ConfigError(
                f"{self.path}: visible masks cannot be cut: the model makes {self.masks} ones only"
            )
        return replace(self, inference=replace(self.inference, visible_within_amodal=True))


def masks_of(kind: str) -> Masks:
    """Which masks a kind of network makes."""
    return _MASKS.get(kind, "joint")


def open_model(path: str | Path, cfg: Config | None = None) -> Model:
    """Loads weights with their configuration.

    Args:
        path: a released file, or a checkpoint of a training.
        cfg: the configuration; None takes that of the released file of this path, else the
            published network that the weights fit.

    Raises:
        CheckpointError: the file cannot be read or does not fit.
        ConfigError: the configuration does not describe a network.
    """
    checkpoint = read_checkpoint(path)
    if cfg is None:
        cfg = _released_config(checkpoint)
    settings = guess_settings(checkpoint) if cfg is None else model_settings(cfg)
    network = load_network(checkpoint, settings)
    classes = checkpoint.classes or CLASS_NAMES
    if len(classes) != settings.num_classes:
        if checkpoint.classes is not None and len(CLASS_NAMES) != settings.num_classes:
            raise CheckpointError(
                f"{checkpoint.path}: meta, CLASSES: {len(classes)} names, but the network has "
                f"{settings.num_classes} classes"
            )
        classes = CLASS_NAMES[: settings.num_classes]
    inference = InferenceSettings() if cfg is None else inference_settings(cfg)
    return Model(checkpoint.path, network, inference, tuple(classes))


def _released_config(checkpoint: Checkpoint) -> Config | None:
    """The configuration of a published file, told by the end of its path."""
    parts = checkpoint.path.resolve().parts
    for name, (file, config) in RELEASED.items():
        wanted = Path(file).parts
        if checkpoint.path.stem == name or parts[-2:] == wanted[-2:]:
            return load_config(config)
    return None
