"""What training starts from: weights of another model, adapted key by key (spec section 9).

An official Deformable DETR starts a Mask-Head; a Mask-Head trained on COCO starts DeVIS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from devis.model.settings import ModelSettings
from vidseg_common.errors import CheckpointError

PREFIX = "def_detr."
OWN_PREFIXES = (PREFIX, "bbox_attention", "mask_head", "conv_head_3d")
TEMPORAL_EMBED = f"{PREFIX}backbone.1.temporal_embed"
QUERY_EMBED = f"{PREFIX}query_embed.weight"
CLASS_EMBED = f"{PREFIX}class_embed."
LEVEL_EMBED = f"{PREFIX}transformer.level_embed"
OFFSETS, WEIGHTS = "sampling_offsets", "attention_weights"
#: Levels and points of every COCO model.
COCO_LEVELS, COCO_POINTS = 4, 4
#: COCO category of every YouTube-VIS 2019 class; -1: there is none.
COCO_OF_YOUTUBE = (
    *(1, -1, -1, -1, 41, -1, 3, 18, -1, -1, -1, -1, -1, 17, 21, -1, 7, 19, -1, 23),
    *(-1, 4, -1, -1, -1, -1, 42, 5, 8, 24, -1, 22, 36, 9, -1, 74, -1, -1, -1, -1),
)


@dataclass(frozen=True)
class StartOptions:
    """What DeVIS takes over from a COCO model.

    Attributes:
        temporal: temporal layers start as copies of their spatial twins.
        queries: query embeddings, a selection of them for every frame.
        classes: class rows of matching categories (YouTube-VIS 2019 only).
    """

    temporal: bool = True
    queries: bool = False
    classes: bool = False


@dataclass
class Start:
    """Weights to start from, and where each came from.

    Attributes:
        state: every key of the network.
        sources: key to "copied", "adapted ROWSxCOLUMNS" or "scratch".
        unused: keys of the file that the network does not have.
    """

    state: dict[str, Tensor] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)

    def keys_from(self, source: str) -> list[str]:
        """Keys whose source begins with a word."""
        return [key for key, text in self.sources.items() if text.startswith(source)]

    def text(self) -> str:
        """Lines for a terminal: how many keys were taken over, and which were not."""
        counts = {word: self.keys_from(word) for word in ("copied", "adapted", "scratch")}
        lines = [", ".join(f"{len(keys)} {word}" for word, keys in counts.items())]
        lines += [f"  from scratch: {key}" for key in counts["scratch"]]
        lines += [f"  not used: {key}" for key in self.unused]
        return "\n".join(lines)


def start_mask_head(
    file: Mapping[str, Tensor], own: Mapping[str, Tensor], *, shift_classes: bool, source: str
) -> Start:
    """Starts a Mask-Head or a detector from a detector.

    Args:
        file: name to tensor of the file, with or without the prefix.
        own: the network's state dict; keys that the file lacks keep these values.
        shift_classes: move the class rows by one, for the official files.
        source: name of the file, for messages.

    Raises:
        CheckpointError: a tensor has another shape than the network needs.
    """
    given = with_prefix(file) if any(key.startswith(PREFIX) for key in own) else dict(file)
    if shift_classes:
        given |= {k: torch.roll(v, -1, 0) for k, v in given.items() if "class_embed." in k}
    return _fill(given, {}, own, source)


def start_devis(
    file: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    settings: ModelSettings,
    options: StartOptions,
    source: str,
) -> Start:
    """Starts DeVIS from a Mask-Head (or a detector) that was trained on COCO.

    Args:
        file: name to tensor of the file, with or without the prefix.
        own: the network's state dict; keys that the file lacks keep these values.
        settings: of the network.
        options: what is taken over.
        source: name of the file, for messages.

    Raises:
        CheckpointError: a tensor does not fit, or classes cannot be taken over.
    """
    given = with_prefix(file)
    if settings.num_levels == 1 and not any(key.startswith(PREFIX) for key in file):
        given |= _single_projection(given)
    adapted = _queries(given, own, settings) if options.queries else {}
    if options.classes:
        adapted |= _classes(given, own, settings, source)
    if settings.num_levels < COCO_LEVELS:
        adapted |= _cut_levels(given, settings, source)
    if options.temporal:
        adapted |= _temporal_twins(given, own, settings, source)
    fresh = {k for k in own if k.startswith(CLASS_EMBED)} | {QUERY_EMBED, TEMPORAL_EMBED}
    return _fill(given, adapted, own, source, fresh=fresh)


def with_prefix(file: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names as networks with masks have them: keys of a bare detector get the prefix."""
    return {k if k.startswith(OWN_PREFIXES) else PREFIX + k: v for k, v in file.items()}


def _fill(
    given: Mapping[str, Tensor],
    adapted: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    source: str,
    fresh: set[str] | None = None,
) -> Start:
    """Adapted tensors first, then those of the file, else the network's own."""
    start = Start(unused=[key for key in given if key not in own])
    for key, value in own.items():
        taken = adapted.get(key)
        if taken is None and key not in (fresh or ()):
            taken = given.get(key)
        if taken is None:
            start.sources[key] = "scratch"
        elif taken.shape != value.shape:
            raise CheckpointError(
                f"{source}: {key} has the shape {tuple(taken.shape)}, the network needs "
                f"{tuple(value.shape)}"
            )
        else:
            sizes = "x".join(map(str, taken.shape))
            start.sources[key] = f"adapted {sizes}" if key in adapted else "copied"
        start.state[key] = value if taken is None else taken
    return start


def _single_projection(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """With one level its projection is the first one of the network, the third of the file."""
    old, new = f"{PREFIX}input_proj.2.", f"{PREFIX}input_proj.0."
    return {new + k.removeprefix(old): v for k, v in given.items() if k.startswith(old)}


def _queries(
    given: Mapping[str, Tensor], own: Mapping[str, Tensor], settings: ModelSettings
) -> dict[str, Tensor]:
    """As many rows as a frame has queries, evenly chosen, the same for every frame."""
    rows, per_frame = given.get(QUERY_EMBED), settings.queries_per_frame
    if rows is None or len(rows) < per_frame:
        return {}
    chosen = rows[:: len(rows) // per_frame][:per_frame]
    return {QUERY_EMBED: chosen.repeat(len(own[QUERY_EMBED]) // per_frame, 1)}


def _classes(
    given: Mapping[str, Tensor], own: Mapping[str, Tensor], settings: ModelSettings, source: str
) -> dict[str, Tensor]:
    """Rows of the classes that COCO has too; the others stay as they are.

    Raises:
        CheckpointError: the classes are not those of YouTube-VIS 2019.
    """
    if settings.num_classes != len(COCO_OF_YOUTUBE):
        raise CheckpointError(
            f"{source}: SOLVER.DEVIS.FINETUNE_CLASS_LOGITS knows the {len(COCO_OF_YOUTUBE)} "
            f"classes of YouTube-VIS 2019 only, this network has {settings.num_classes}"
        )
    ours = [index for index, category in enumerate(COCO_OF_YOUTUBE) if category > 0]
    theirs = [category - 1 for category in COCO_OF_YOUTUBE if category > 0]
    adapted = {}
    for key, value in own.items():
        if key.startswith(CLASS_EMBED) and key in given:
            adapted[key] = value.clone()
            adapted[key][ours] = given[key][theirs].to(value)
    return adapted


def _cut_levels(
    given: Mapping[str, Tensor], settings: ModelSettings, source: str
) -> dict[str, Tensor]:
    """The first levels of what has a part for each of the four."""
    levels = settings.num_levels
    cut = {LEVEL_EMBED: given[LEVEL_EMBED][:levels]} if LEVEL_EMBED in given else {}
    for key, value in given.items():
        if _is_sampling(key):
            parts = _parts(key, value, settings, source)[:, :levels]
            cut[key] = parts.reshape(-1, *value.shape[1:])
    return cut


def _temporal_twins(
    given: Mapping[str, Tensor], own: Mapping[str, Tensor], settings: ModelSettings, source: str
) -> dict[str, Tensor]:
    """Layers that sample other frames, from those that sample the query's own frame."""
    temporal = settings.temporal
    assert temporal is not None
    frames = temporal.num_frames - 1
    twins = {}
    for key, value in given.items():
        twin = key.replace(f".{OFFSETS}.", f".temporal_{OFFSETS}.")
        twin = twin.replace(f".{WEIGHTS}.", f".temporal_{WEIGHTS}.")
        if not _is_sampling(key) or twin not in own or twin in given:
            continue
        in_encoder = ".encoder." in key
        points = temporal.enc_points if in_encoder else temporal.dec_points
        others = temporal.window if in_encoder and not temporal.connect_all else frames
        parts = _parts(key, value, settings, source)[:, : settings.num_levels, :points]
        repeated = parts[:, None].expand(-1, others, *parts.shape[1:])  # M, W, L, Pt, (2), ...
        twins[twin] = repeated.reshape(-1, *value.shape[1:])
    return twins


def _is_sampling(key: str) -> bool:
    """Layers of the deformable attention whose rows are heads x levels x points."""
    return f".{OFFSETS}." in key or f".{WEIGHTS}." in key


def _parts(key: str, value: Tensor, settings: ModelSettings, source: str) -> Tensor:
    """Rows as heads, levels, points and what is left of them.

    Raises:
        CheckpointError: there are not as many rows.
    """
    shape = (settings.num_heads, COCO_LEVELS, COCO_POINTS)
    per_point = 2 if f".{OFFSETS}." in key else 1
    if len(value) != shape[0] * shape[1] * shape[2] * per_point:
        raise CheckpointError(
            f"{source}: {key} has {len(value)} rows; expected {shape[0]} heads x {shape[1]} "
            f"levels x {shape[2]} points x {per_point}"
        )
    return value.reshape(*shape, per_point, *value.shape[1:])
