"""Values that fit on their own but not together (spec section 1, checks at start)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

from devis.config_tree import Config
from vidseg_common.errors import ConfigError, list_problems

#: Decoder layers that the weights of auxiliary losses are made for.
WEIGHTED_LAYERS = 6
#: Queries of the COCO models, which clips may take over.
COCO_QUERIES = 300
#: Beyond it the ranks of many processes could leave the range of seeds.
LARGEST_SEED = 2**31
#: Levels of the features of the mask head.
LEVELS = ("/32", "/16", "/8", "/4")


def check(cfg: Config, source: str = "configuration") -> None:
    """Refuses values that contradict one another; warns of one that has no effect.

    Args:
        cfg: the configuration.
        source: where it comes from, for messages.

    Raises:
        ConfigError: names every key that does not fit, what it is and what was expected.
    """
    problems = list(_problems(cfg))
    if problems:
        raise ConfigError(list_problems(f"{source}:", problems))
    if not cfg.TEST.USE_TOP_K and queries_per_frame(cfg) != cfg.TEST.NUM_OUT:
        warnings.warn(
            f"{source}: TEST.NUM_OUT is {cfg.TEST.NUM_OUT}; without TEST.USE_TOP_K every one of "
            f"the {queries_per_frame(cfg)} queries is kept",
            stacklevel=2,
        )


def queries_per_frame(cfg: Config) -> int:
    """Queries of an image, or of one frame of a clip."""
    frames = cfg.MODEL.DEVIS.NUM_FRAMES if cfg.DATASETS.TYPE == "vis" else 1
    return cfg.MODEL.NUM_QUERIES // max(frames, 1)


def _problems(cfg: Config) -> Iterator[str]:
    model, loss = cfg.MODEL, cfg.MODEL.LOSS
    layers = model.TRANSFORMER.DECODER_LAYERS
    if not loss.FOCAL_LOSS:
        yield "MODEL.LOSS.FOCAL_LOSS must be True; there is no softmax loss"
    wrong = [layer for layer in loss.MASK_AUX_LOSS if not 0 <= layer < layers - 1]
    if wrong:
        yield f"MODEL.LOSS.MASK_AUX_LOSS: layers 0 to {layers - 2} are possible, got {wrong[0]}"
    if loss.MASK_AUX_LOSS and not loss.AUX_LOSS:
        yield "MODEL.LOSS.MASK_AUX_LOSS must be [] when MODEL.LOSS.AUX_LOSS is False"
    if loss.AUX_LOSS_WEIGHTING and layers != WEIGHTED_LAYERS:
        yield (
            f"MODEL.LOSS.AUX_LOSS_WEIGHTING needs {WEIGHTED_LAYERS} decoder layers, "
            f"MODEL.TRANSFORMER.DECODER_LAYERS is {layers}"
        )
    if model.WITH_BBX_REFINE and model.WITH_REF_POINT_REFINE:
        yield "MODEL.WITH_BBX_REFINE and MODEL.WITH_REF_POINT_REFINE exclude each other"
    if not 0 < cfg.INPUT.SCALE_FACTOR_TRAIN < math.inf:
        yield f"INPUT.SCALE_FACTOR_TRAIN must be positive, got {cfg.INPUT.SCALE_FACTOR_TRAIN}"
    for key in ("MIN_SIZE_TEST", "MAX_SIZE_TEST"):
        if getattr(cfg.INPUT, key) < 1:
            yield f"INPUT.{key} must be 1 or more pixels, got {getattr(cfg.INPUT, key)}"
    if cfg.TEST.INPUT_FOLDER and not cfg.TEST.EPOCHS_TO_EVAL:
        yield "TEST.EPOCHS_TO_EVAL must name an epoch when TEST.INPUT_FOLDER is given"
    if not 0 <= cfg.SEED < LARGEST_SEED:
        yield f"SEED must be 0 to {LARGEST_SEED - 1}, got {cfg.SEED}"
    if cfg.SOLVER.RESUME_OPTIMIZER and not model.WEIGHTS:
        yield "SOLVER.RESUME_OPTIMIZER needs MODEL.WEIGHTS, the checkpoint to continue"
    if cfg.START_EPOCH < 1:
        yield f"START_EPOCH must be 1 or more, got {cfg.START_EPOCH}"
    if cfg.SOLVER.BATCH_SIZE < 1:
        yield f"SOLVER.BATCH_SIZE must be 1 or more, got {cfg.SOLVER.BATCH_SIZE}"
    if model.MASK_ON:
        yield from _problems_of_masks(cfg)
    if cfg.DATASETS.TYPE == "vis":
        yield from _problems_of_clips(cfg)


def _problems_of_masks(cfg: Config) -> Iterator[str]:
    head = cfg.MODEL.MASK_HEAD
    levels = tuple(level for level, _ in head.USED_FEATURES)
    seen = LEVELS[: -1 if cfg.MODEL.NUM_FEATURE_LEVELS > 1 else 1]
    if levels != LEVELS:
        yield f"MODEL.MASK_HEAD.USED_FEATURES: expected the levels {', '.join(LEVELS)}"
    for level, source in head.USED_FEATURES:
        if source != "backbone" and level not in seen:
            yield (
                f"MODEL.MASK_HEAD.USED_FEATURES: the transformer has no level {level}; "
                f"its source must be backbone, got {source}"
            )
    for name in head.UPSAMPLING_RESOLUTIONS:
        if name not in seen:
            yield (
                "MODEL.MASK_HEAD.UPSAMPLING_RESOLUTIONS: expected levels among "
                f"{', '.join(seen)}, got {name}"
            )


def _problems_of_clips(cfg: Config) -> Iterator[str]:
    frames, queries = cfg.MODEL.DEVIS.NUM_FRAMES, cfg.MODEL.NUM_QUERIES
    stride, window = (
        cfg.TEST.CLIP_TRACKING.STRIDE,
        cfg.MODEL.DEVIS.DEFORMABLE_ATTENTION.ENC_TEMPORAL_WINDOW,
    )
    if not cfg.MODEL.MASK_ON:
        yield "MODEL.MASK_ON must be True for DATASETS.TYPE vis: clips are joined by their masks"
    if frames < 2:
        yield f"MODEL.DEVIS.NUM_FRAMES must be 2 or more, got {frames}"
    elif queries % frames:
        yield (
            f"MODEL.NUM_QUERIES must be a multiple of MODEL.DEVIS.NUM_FRAMES ({frames}), "
            f"got {queries}"
        )
    elif cfg.SOLVER.DEVIS.FINETUNE_QUERY_EMBEDDINGS and COCO_QUERIES % (queries // frames):
        yield (
            f"SOLVER.DEVIS.FINETUNE_QUERY_EMBEDDINGS: {COCO_QUERIES} must be a multiple of the "
            f"{queries // frames} queries per frame"
        )
    if cfg.SOLVER.BATCH_SIZE != 1:
        yield f"SOLVER.BATCH_SIZE must be 1 for DATASETS.TYPE vis, got {cfg.SOLVER.BATCH_SIZE}"
    if not 0 < stride < frames:
        yield f"TEST.CLIP_TRACKING.STRIDE must be 1 to {frames - 1}, got {stride}"
    if window < 2 or window % 2:
        yield (
            "MODEL.DEVIS.DEFORMABLE_ATTENTION.ENC_TEMPORAL_WINDOW must be an even number of "
            f"frames, got {window}"
        )
