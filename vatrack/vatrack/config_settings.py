"""From a configuration to the typed settings of network, inference, losses, data and training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from vatrack.config_file import Config, resolve_path
from vatrack.data.settings import DatasetSettings, PipelineSettings
from vatrack.inference.settings import InferenceSettings, TrackerSettings
from vatrack.losses.settings import (
    AssignSettings,
    HeadWeights,
    LossSettings,
    ProposalSettings,
    SampleSettings,
    TrackSettings,
)
from vatrack.model.settings import Kind, ModelSettings
from vatrack.schedules import Schedule
from vatrack.train_settings import TrainSettings
from vidseg_common.datasets.sailvos import CLASS_NAMES
from vidseg_common.errors import ConfigError

T = TypeVar("T")
Masks = Literal["visible", "amodal", "joint"]
Role = Literal["train", "val", "test"]

#: Detector to the kind of network, and the heads and tracker that go with it.
DETECTORS: dict[str, tuple[Kind, str, str]] = {
    "QuasiDenseMaskRCNN": ("qdtrack", "QuasiDenseSegRoIHead", "QuasiDenseSegEmbedTracker"),
    "JointMaskQuasiDenseMaskRCNN": (
        *("vatrack", "JointMaskQuasiDenseRoIHead", "JointMaskQuasiDenseSegEmbedTracker"),
    ),
    "JointBBoxMaskQuasiDenseMaskRCNN": (
        *("vatrack2bbox", "JointBBoxMaskQuasiDenseRoIHead"),
        "JointBBoxMaskQuasiDenseSegEmbedTracker",
    ),
}
_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_BOX_HEADS = ("model.roi_head.bbox_head", "model.roi_head.amodal_bbox_head")
_MASK_HEADS = ("model.roi_head.mask_head", "model.roi_head.amodal_mask_head")
_TRACK = "model.roi_head.track_head"
_EXTRACTORS = tuple(
    f"model.roi_head.{name}_roi_extractor"
    for name in ("bbox", "track", "amodal_bbox", "mask", "amodal_mask")
)


def network_kind(cfg: Config) -> Kind:
    """Which of the four models.

    Raises:
        ConfigError: no detector, or heads or a tracker of another one.
    """
    name = cfg.get("model.type")
    if name is None:
        raise ConfigError(f"{cfg.path}: no model; expected model = dict(type=...)")
    kind, roi_head, tracker = DETECTORS[name]
    for key, wanted in (("model.roi_head", roi_head), (_tracker_key(cfg), tracker)):
        got = cfg.get(f"{key}.type", wanted)
        if got != wanted:
            raise ConfigError(
                f"{cfg.where(f'{key}.type')}: {key}.type: {name} needs {wanted}, got {got}"
            )
    if kind != "qdtrack":
        return kind
    data = next((name for name in ("data.test", "data.val", "data.train") if cfg.get(name)), None)
    is_amodal = data is not None and _masks(cfg, _first_of(cfg, data)) == "amodal"
    return "amodaltrack" if is_amodal else "qdtrack"


def model_settings(cfg: Config) -> ModelSettings:
    """The network that a configuration describes.

    Raises:
        ConfigError: parts that do not go together; the message names both places.
    """
    default = ModelSettings()
    one = _Same(cfg)
    is_grouped = cfg.get("model.backbone.type") == "ResNeXt"
    channels = one(
        "the width of the pyramid",
        default.fpn_channels,
        *("model.neck.out_channels", "model.rpn_head.in_channels", "model.rpn_head.feat_channels"),
        *(f"{head}.in_channels" for head in (*_BOX_HEADS, *_MASK_HEADS, _TRACK)),
        *(f"{head}.conv_out_channels" for head in (*_MASK_HEADS, _TRACK)),
        *(f"{name}.out_channels" for name in _EXTRACTORS),
    )
    strides = _listed(cfg, "model.rpn_head.anchor_generator.strides", default.strides)
    for name in _EXTRACTORS:
        key = f"{name}.featmap_strides"
        if _listed(cfg, key, strides[:4]) != strides[:4]:
            raise ConfigError(f"{cfg.where(key)}: {key}: expected {list(strides[:4])}")
    scales = _listed(cfg, "model.rpn_head.anchor_generator.scales", (default.anchor_scale,))
    if len(scales) != 1:
        key = "model.rpn_head.anchor_generator.scales"
        raise ConfigError(f"{cfg.where(key)}: {key}: expected one scale, got {len(scales)}")
    size = "roi_layer.output_size"
    values: dict[str, Any] = {
        "kind": network_kind(cfg),
        "blocks": _BLOCKS[cfg.get("model.backbone.depth", 50)],
        "groups": cfg.get("model.backbone.groups", 32 if is_grouped else 1),
        "base_width": cfg.get("model.backbone.base_width", 4 if is_grouped else 64),
        "stem_channels": cfg.get("model.backbone.base_channels", default.stem_channels),
        "frozen_stages": cfg.get("model.backbone.frozen_stages", -1),
        "norm_eval": cfg.get("model.backbone.norm_eval", True),
        "num_classes": num_classes(cfg),
        "fpn_channels": channels,
        "fc_channels": one(
            "the width of hidden layers",
            default.fc_channels,
            *(f"{head}.fc_out_channels" for head in (*_BOX_HEADS, _TRACK)),
        ),
        "mask_convs": one(
            "num_convs", default.mask_convs, *(f"{h}.num_convs" for h in _MASK_HEADS)
        ),
        "track_convs": cfg.get(f"{_TRACK}.num_convs", default.track_convs),
        "norm_groups": cfg.get(f"{_TRACK}.norm_cfg.num_groups", default.norm_groups),
        "embed_dim": cfg.get(f"{_TRACK}.embed_channels", default.embed_dim),
        "box_roi_size": one(
            "the size of RoI features",
            default.box_roi_size,
            *(f"{name}.{size}" for name in _EXTRACTORS[:3]),
            *(f"{head}.roi_feat_size" for head in (*_BOX_HEADS, _TRACK)),
        ),
        "mask_roi_size": one(
            "the size of RoI features of masks",
            default.mask_roi_size,
            *(f"{name}.{size}" for name in _EXTRACTORS[3:]),
            *(f"{head}.roi_feat_size" for head in _MASK_HEADS),
        ),
        "finest_scale": one(
            "finest_scale", default.finest_scale, *(f"{name}.finest_scale" for name in _EXTRACTORS)
        ),
        "anchor_scale": float(scales[0]),
        "anchor_ratios": _listed(
            cfg, "model.rpn_head.anchor_generator.ratios", default.anchor_ratios
        ),
        "strides": strides,
        "rpn_stds": _listed(cfg, "model.rpn_head.bbox_coder.target_stds", default.rpn_stds),
        "rcnn_stds": tuple(
            one(
                "target_stds",
                default.rcnn_stds,
                *(f"{head}.bbox_coder.target_stds" for head in _BOX_HEADS),
            )
        ),
    }
    return _made(cfg, ModelSettings, values)


def num_classes(cfg: Config) -> int:
    """Number of foreground classes.

    Raises:
        ConfigError: the heads differ.
    """
    heads = (*_BOX_HEADS, *_MASK_HEADS)
    return _Same(cfg)("num_classes", len(CLASS_NAMES), *(f"{head}.num_classes" for head in heads))


def tracker_settings(cfg: Config) -> TrackerSettings:
    """The tracker; what is not said has the published value."""
    section = cfg.get(_tracker_key(cfg), {})
    values = {k: v for k, v in section.items() if k not in ("type", "asso_tau")}
    return _made(cfg, TrackerSettings, values)


def inference_settings(cfg: Config) -> InferenceSettings:
    """Everything of inference that is not in the network."""
    default = InferenceSettings()
    rpn, rcnn = _test_cfg(cfg, "rpn"), _test_cfg(cfg, "rcnn")
    nms = cfg.get(f"{rcnn}.nms", {})
    pipeline = pipeline_settings(cfg, "data.test")
    values = {
        "img_scale": pipeline.img_scale,
        "size_divisor": pipeline.size_divisor,
        "mean": pipeline.mean,
        "std": pipeline.std,
        "nms_pre": cfg.get(f"{rpn}.nms_pre", default.nms_pre),
        "max_num": cfg.get(f"{rpn}.max_num", default.max_num),
        "score_thr": cfg.get(f"{rcnn}.score_thr", default.score_thr),
        "nms_iou_thr": nms.get("iou_threshold", nms.get("iou_thr", default.nms_iou_thr)),
        "max_per_img": cfg.get(f"{rcnn}.max_per_img", default.max_per_img),
        "mask_thr_binary": cfg.get(f"{rcnn}.mask_thr_binary", default.mask_thr_binary),
        "tracker": tracker_settings(cfg),
    }
    return _made(cfg, InferenceSettings, values)


def loss_settings(cfg: Config) -> LossSettings:
    """Losses, assignment and sampling."""
    default = LossSettings()
    train = _either(cfg, "model.train_cfg", "train_cfg")
    embed = f"{_TRACK}.loss_track_aux"
    return LossSettings(
        class_weights=_class_weights(cfg, _BOX_HEADS[0], default.class_weights),
        amodal_class_weights=_class_weights(cfg, _BOX_HEADS[1], default.amodal_class_weights),
        weights=_head_weights(cfg),
        track=TrackSettings(
            max_negatives=cfg.get(f"{embed}.neg_pos_ub", default.track.max_negatives),
            positive_margin=cfg.get(f"{embed}.pos_margin", default.track.positive_margin),
            negative_margin=cfg.get(f"{embed}.neg_margin", default.track.negative_margin),
            hard_mining=cfg.get(f"{embed}.hard_mining", default.track.hard_mining),
        ),
        rpn_beta=cfg.get("model.rpn_head.loss_bbox.beta", default.rpn_beta),
        box_beta=cfg.get(f"{_BOX_HEADS[0]}.loss_bbox.beta", default.box_beta),
        mask_size=cfg.get(f"{train}.rcnn.mask_size", default.mask_size),
        rpn_assign=_assign(cfg, f"{train}.rpn", default.rpn_assign),
        rpn_sample=_sample(cfg, f"{train}.rpn", default.rpn_sample),
        box_assign=_assign(cfg, f"{train}.rcnn", default.box_assign),
        box_sample=_sample(cfg, f"{train}.rcnn", default.box_sample),
        embed_assign=_assign(cfg, f"{train}.embed", default.embed_assign),
        embed_sample=_sample(cfg, f"{train}.embed", default.embed_sample),
        key_proposals=_proposals(cfg, f"{train}.rpn_proposal", default.key_proposals),
        ref_proposals=_proposals(cfg, _test_cfg(cfg, "rpn"), default.ref_proposals),
    )


def train_settings(cfg: Config) -> TrainSettings:
    """Schedule, batches, logs, saves and starts of a training."""
    default = TrainSettings()
    epochs = cfg.get("runner.max_epochs", cfg.get("total_epochs", default.epochs))
    hook = cfg.get("optimizer_config.type")
    metrics = cfg.get("evaluation.metric", list(default.metrics))
    lr = cfg.get("lr_config.warmup") is not None
    values = {
        "epochs": epochs,
        "samples_per_gpu": cfg.get("data.samples_per_gpu", default.samples_per_gpu),
        "workers_per_gpu": cfg.get("data.workers_per_gpu", default.workers_per_gpu),
        "momentum": cfg.get("optimizer.momentum", 0.0),
        "weight_decay": cfg.get("optimizer.weight_decay", 0.0),
        "schedule": Schedule(
            lr=cfg.get("optimizer.lr", default.schedule.lr),
            steps=_listed(cfg, "lr_config.step", tuple(default.schedule.steps)),
            gamma=cfg.get("lr_config.gamma", default.schedule.gamma),
            warmup_iters=cfg.get("lr_config.warmup_iters", 0) if lr else 0,
            warmup_ratio=cfg.get("lr_config.warmup_ratio", default.schedule.warmup_ratio),
        ),
        "grad_clip": cfg.get("optimizer_config.grad_clip.max_norm"),
        "is_mixed": hook == "Fp16OptimizerHook" or cfg.get("fp16") is not None,
        "checkpoint_interval": cfg.get("checkpoint_config.interval", 1),
        "max_keep_ckpts": cfg.get("checkpoint_config.max_keep_ckpts"),
        "log_interval": cfg.get("log_config.interval", default.log_interval),
        "evaluation_interval": cfg.get("evaluation.interval", 1),
        "metrics": (metrics,) if isinstance(metrics, str) else tuple(metrics),
        "seed": cfg.get("seed"),
        "pretrained": cfg.get("model.pretrained"),
        "work_dir": cfg.get("work_dir"),
        "load_from": cfg.get("load_from") and str(resolve_path(cfg.get("load_from"))),
        "resume_from": cfg.get("resume_from"),
    }
    return _made(cfg, TrainSettings, values)


def dataset_settings(cfg: Config, role: Role) -> list[DatasetSettings]:
    """The data sets of a role; several of "train" are read one after the other.

    Raises:
        ConfigError: none is named, or it does not go with the network.
    """
    key = f"data.{role}"
    if not cfg.get(key):
        raise ConfigError(f"{cfg.path}: no {key}; expected a data set, dict(type=...)")
    several = isinstance(cfg.get(key), (list, tuple))
    keys = [f"{key}.{i}" for i in range(len(cfg.get(key)))] if several else [key]
    return [_dataset(cfg, item, is_training=role == "train") for item in keys]


def _dataset(cfg: Config, key: str, *, is_training: bool) -> DatasetSettings:
    kind = network_kind(cfg)
    is_joint = kind in ("vatrack", "vatrack2bbox")
    wanted = "SAILVOSVideoDataset" if is_joint else "SAILVOSVideoDatasetNoJoint"
    if cfg.get(f"{key}.type") != wanted:
        raise ConfigError(
            f"{cfg.where(f'{key}.type')}: {key}.type: {cfg.get('model.type')} needs {wanted}"
        )
    masks = _masks(cfg, key)
    root = cfg.get(f"{key}.data_root") or ""
    paths = {}
    for name in ("ann_file", "img_prefix"):
        value = cfg.get(f"{key}.{name}")
        if value is None:
            raise ConfigError(f"{cfg.where(key)}: {key}: no {name}")
        paths[name] = resolve_path(f"{root}/{value}" if root else value)
    classes = cfg.get(f"{key}.classes")
    names = CLASS_NAMES if not isinstance(classes, (list, tuple)) else tuple(map(str, classes))
    if len(names) != num_classes(cfg):
        raise ConfigError(
            f"{cfg.where(f'{key}.classes')}: {key}: {len(names)} classes, but num_classes of the "
            f"heads is {num_classes(cfg)}"
        )
    return DatasetSettings(
        **paths,
        masks=masks,
        two_boxes=kind == "vatrack2bbox",
        classes=names,
        interval=cfg.get(f"{key}.key_img_sampler.interval", 1),
        scope=cfg.get(f"{key}.ref_img_sampler.scope", 3),
        drop_empty=is_training and cfg.get(f"{key}.filter_empty_gt", True),
        pipeline=pipeline_settings(cfg, key),
    )


def pipeline_settings(cfg: Config, key: str) -> PipelineSettings:
    """What the transforms of a data set do; what is not said has the published value."""
    default = PipelineSettings()
    steps = cfg.get(f"{_first_of(cfg, key)}.pipeline") or []
    if isinstance(steps, dict):
        steps = [steps]
    said: dict[str, Any] = {}
    for step in steps:
        inner = step.get("transforms", [])
        for item in (step, *(inner if isinstance(inner, (list, tuple)) else [inner])):
            said |= {name: item[name] for name in item if name != "transforms"}
    values = {
        "img_scale": tuple(said.get("img_scale", default.img_scale)),
        "flip_ratio": said.get("flip_ratio", 0.0),
        "mean": tuple(said.get("mean", default.mean)),
        "std": tuple(said.get("std", default.std)),
        "size_divisor": said.get("size_divisor", default.size_divisor),
    }
    return _made(cfg, PipelineSettings, values)


def _first_of(cfg: Config, key: str) -> str:
    return f"{key}.0" if isinstance(cfg.get(key), (list, tuple)) else key


def _masks(cfg: Config, key: str) -> Masks:
    """Which masks a data set has: its option `kind`, its type, or the words of its path."""
    stated = cfg.get(f"{key}.kind")
    is_joint = cfg.get(f"{key}.type") == "SAILVOSVideoDataset"
    if stated is not None and (stated == "joint") != is_joint:
        name = cfg.get(f"{key}.type")
        raise ConfigError(f"{cfg.where(f'{key}.kind')}: {key}.kind: {name} has no {stated} masks")
    if is_joint or stated is not None:
        return stated or "joint"
    path = str(cfg.get(f"{key}.ann_file", ""))
    found = [word for word in ("visible", "amodal") if word in path]
    if len(found) == 1:
        return "visible" if found == ["visible"] else "amodal"
    raise ConfigError(
        f"{cfg.where(f'{key}.ann_file')}: {key}: the path {path!r} does not tell whether masks "
        'are visible or amodal; say kind="visible" or kind="amodal"'
    )


def _tracker_key(cfg: Config) -> str:
    return _either(cfg, "model.tracker", "tracker")


def _test_cfg(cfg: Config, part: str) -> str:
    return f"{_either(cfg, 'model.test_cfg', 'test_cfg')}.{part}"


def _either(cfg: Config, inner: str, outer: str) -> str:
    """A section may stand in the model or beside it, not in both."""
    if cfg.get(inner) is not None and cfg.get(outer) is not None:
        raise ConfigError(
            f"{cfg.where(outer)}: {outer} is also in the model, at {cfg.where(inner)}"
        )
    return outer if cfg.get(outer) is not None else inner


def _assign(cfg: Config, key: str, default: AssignSettings) -> AssignSettings:
    section = cfg.get(f"{key}.assigner")
    if section is None:
        return default
    return AssignSettings(
        positive=section.get("pos_iou_thr", default.positive),
        negative=section.get("neg_iou_thr", default.negative),
        min_positive=section.get("min_pos_iou", 0.0),
        low_quality=section.get("match_low_quality", True),
    )


def _sample(cfg: Config, key: str, default: SampleSettings) -> SampleSettings:
    section = cfg.get(f"{key}.sampler")
    if section is None:
        return default
    negatives = section.get("neg_sampler", {})
    return SampleSettings(
        num=section.get("num", default.num),
        positive_fraction=section.get("pos_fraction", default.positive_fraction),
        max_negatives=section.get("neg_pos_ub", -1),
        add_objects=section.get("add_gt_as_proposals", True),
        balanced=section["type"] == "CombinedSampler",
        num_bins=negatives.get("num_bins", 3),
        # The published -1 becomes 0 at the first use of the original sampler (spec 5.2).
        floor_iou=max(float(negatives.get("floor_thr", -1)), 0.0),
    )


def _proposals(cfg: Config, key: str, default: ProposalSettings) -> ProposalSettings:
    return ProposalSettings(
        nms_pre=cfg.get(f"{key}.nms_pre", default.nms_pre),
        max_num=cfg.get(f"{key}.max_num", default.max_num),
    )


def _class_weights(
    cfg: Config, head: str, default: tuple[float, ...] | None
) -> tuple[float, ...] | None:
    if cfg.get(f"{head}.loss_cls") is None:
        return default if num_classes(cfg) == len(CLASS_NAMES) else None
    weights = cfg.get(f"{head}.loss_cls.class_weight")
    if weights is not None and len(weights) != num_classes(cfg) + 1:
        key = f"{head}.loss_cls.class_weight"
        raise ConfigError(
            f"{cfg.where(key)}: {key}: expected {num_classes(cfg) + 1} weights, background last, "
            f"got {len(weights)}"
        )
    return None if weights is None else tuple(map(float, weights))


def _head_weights(cfg: Config) -> HeadWeights:
    default = HeadWeights()
    places = {
        "rpn_cls": "model.rpn_head.loss_cls",
        "rpn_bbox": "model.rpn_head.loss_bbox",
        "cls": f"{_BOX_HEADS[0]}.loss_cls",
        "bbox": f"{_BOX_HEADS[0]}.loss_bbox",
        "mask": f"{_MASK_HEADS[0]}.loss_mask",
        "amodal_cls": f"{_BOX_HEADS[1]}.loss_cls",
        "amodal_bbox": f"{_BOX_HEADS[1]}.loss_bbox",
        "amodal_mask": f"{_MASK_HEADS[1]}.loss_mask",
        "track": f"{_TRACK}.loss_track",
        "track_aux": f"{_TRACK}.loss_track_aux",
    }
    return HeadWeights(
        **{
            name: float(cfg.get(f"{place}.loss_weight", getattr(default, name)))
            for name, place in places.items()
        }
    )


def _listed(cfg: Config, key: str, default: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(cfg.get(key, default))


class _Same:
    """A value that a configuration says in several places, in which it has to be the same."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    def __call__(self, what: str, default: Any, *keys: str) -> Any:
        said = {key: value for key in keys if (value := self.cfg.get(key)) is not None}
        for key, value in said.items():
            first = next(iter(said))
            if value != said[first]:
                raise ConfigError(
                    f"{self.cfg.where(key)}: {key}: {what} is {value} here and {said[first]} in "
                    f"{first} at {self.cfg.where(first)}; they have to be equal"
                )
        return next(iter(said.values()), default)


def _made(cfg: Config, make: Callable[..., T], values: dict[str, Any]) -> T:
    """Calls a constructor; its own checks speak with the file named."""
    try:
        return make(**values)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{cfg.path}: {error}") from error
