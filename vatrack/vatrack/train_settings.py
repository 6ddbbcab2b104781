"""Numbers of a training; the defaults are those of the published ResNeXt models (spec 5.3)."""

from __future__ import annotations

from dataclasses import dataclass, field

from vatrack.schedules import Schedule

METRICS = ("bbox", "segm", "track", "segtrack")


@dataclass(frozen=True)
class TrainSettings:
    """Everything of a training but network, losses and data.

    Attributes:
        epochs: passes over the data.
        samples_per_gpu: pairs of frames of a batch, in every process.
        workers_per_gpu: loader processes of every process.
        momentum: of SGD.
        weight_decay: of SGD, on every weight that trains.
        schedule: the learning rate.
        grad_clip: largest norm of all gradients; None: any.
        is_mixed: half precision where the device offers it.
        checkpoint_interval: epochs between files of weights.
        max_keep_ckpts: newest files of weights that stay; None: all.
        log_interval: iterations between lines of the log.
        evaluation_interval: epochs between evaluations.
        metrics: what is evaluated.
        seed: of every random choice; None draws one.
        pretrained: weights for the backbone, a file or "torchvision://resnet50"; None: none.
        work_dir: folder of the training; None: named after the configuration.
        load_from: file of weights to start from, as far as they fit; None: none.
        resume_from: training checkpoint to go on from; None: none.
    """

    epochs: int = 12
    samples_per_gpu: int = 4
    workers_per_gpu: int = 4
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: Schedule = field(default_factory=Schedule)
    grad_clip: float | None = None
    is_mixed: bool = False
    checkpoint_interval: int = 1
    max_keep_ckpts: int | None = None
    log_interval: int = 50
    evaluation_interval: int = 1
    metrics: tuple[str, ...] = METRICS
    seed: int | None = None
    pretrained: str | None = None
    work_dir: str | None = None
    load_from: str | None = None
    resume_from: str | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "samples_per_gpu", "log_interval", "checkpoint_interval"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        unknown = [name for name in self.metrics if name not in METRICS]
        if unknown:
            raise ValueError(f"evaluation.metric: expected {', '.join(METRICS)}, got {unknown[0]}")
