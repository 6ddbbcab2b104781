"""Curves on a Visdom server, where there is one (spec 7.3). Nothing here can end a training."""

from __future__ import annotations

import importlib
import math
import socket
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from devis.config import Config

#: Size of the windows in pixels.
WIDTH, HEIGHT = 1000, 500
_CONNECT_SECONDS = 3.0
_BOXES = ("bbox", "ce", "giou")
_MASKS = ("mask", "dice")
RATES = ("base", "backbone", "linear_proj", "mask_head", "temporal_linear_proj")
ITERATIONS, LOSSES, SCORES = "TRAIN METRICS ITERS", "VAL METRICS EPOCHS", "VAL EVAL EPOCHS"
_THRESHOLDS = ("0.50:0.95", "0.50", "0.75")


def loss_legend(*, masks: bool) -> list[str]:
    """Names of the curves of losses."""
    terms = [*_BOXES, *(_MASKS if masks else ())]
    scaled = [f"loss_{term}" for term in terms]
    return ["class_error", "loss", *scaled, *(f"{name}_unscaled" for name in scaled)]


def train_legend(*, masks: bool) -> list[str]:
    """Names of the curves by iteration."""
    return [*loss_legend(masks=masks), *(f"lr_{name}" for name in RATES), "iter_time"]


def score_legend(*, masks: bool) -> list[str]:
    """Names of the curves of AP."""
    kinds = ("BBOX", "MASK") if masks else ("BBOX",)
    return [f"{kind} AP IoU={threshold}" for kind in kinds for threshold in _THRESHOLDS]


class Curves:
    """The windows of a training.

    Args:
        cfg: server, port, and the folder whose last part names the environment.
        windows: title to the name of a window to go on in.

    Attributes:
        windows: title to name of every window.
    """

    def __init__(self, cfg: Config, windows: Mapping[str, str] | None = None) -> None:
        masks, is_coco = cfg.MODEL.MASK_ON, cfg.DATASETS.TYPE == "coco"
        self.windows: dict[str, str] = dict(windows or {})
        self._legends = {ITERATIONS: train_legend(masks=masks)}
        if is_coco:
            self._legends[LOSSES] = loss_legend(masks=masks)
            self._legends[SCORES] = score_legend(masks=masks)
        self._client = _connect(cfg) if cfg.VISDOM_ON else None

    @property
    def is_on(self) -> bool:
        """Whether anything is drawn."""
        return self._client is not None

    def add(self, title: str, x: float, values: Mapping[str, float]) -> None:
        """Draws a point on every curve of a window.

        Args:
            title: of the window; one that this training does not have is left alone.
            x: iteration or epoch.
            values: by the names in the legend; missing ones leave a gap.
        """
        legend = self._legends.get(title)
        if self._client is None or legend is None:
            return
        row = [[float(values.get(name, math.nan)) for name in legend]]
        try:
            self.windows[title] = self._draw(title, x, row, legend)
        except Exception as error:  # a server that goes away raises whatever its client likes
            warnings.warn(f"Visdom: {error}; no further curves are drawn there", stacklevel=2)
            self._client = None

    def _draw(self, title: str, x: float, row: list[list[float]], legend: Sequence[str]) -> str:
        window = self.windows.get(title)
        by_epoch = title != ITERATIONS
        options: dict[str, Any] = {
            "title": title,
            "xlabel": "EPOCHS" if by_epoch else "ITERS",
            "ylabel": "METRICS",
            "legend": list(legend),
            "width": WIDTH,
            "height": HEIGHT,
        }
        update = "append" if window else None
        assert self._client is not None
        return str(self._client.line(Y=row, X=[x], win=window, update=update, opts=options))


def _connect(cfg: Config) -> Any:
    """The client of the server, None (and a warning) without package or server."""
    instead = "curves are in TensorBoard files only (VISDOM_ON False silences this)"
    try:
        module = importlib.import_module("visdom")
    except ImportError:
        warnings.warn(f"the package visdom is not installed; {instead}", stacklevel=3)
        return None
    host = urlsplit(cfg.VISDOM_SERVER).hostname or cfg.VISDOM_SERVER
    try:
        socket.create_connection((host, cfg.VISDOM_PORT), _CONNECT_SECONDS).close()
        return module.Visdom(
            server=cfg.VISDOM_SERVER, port=cfg.VISDOM_PORT, env=Path(cfg.OUTPUT_DIR).resolve().name
        )
    except Exception as error:  # as above
        where = f"{cfg.VISDOM_SERVER}:{cfg.VISDOM_PORT}"
        warnings.warn(f"no Visdom server at {where} ({error}); {instead}", stacklevel=3)
        return None
