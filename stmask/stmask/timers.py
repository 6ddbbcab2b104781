"""How long the parts of inference take. Source: spec section 9, "Timers".

A part that starts within another one pauses it, so times add up to the whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

NETWORK_PARTS = {
    "backbone": "backbone",
    "fpn": "fpn",
    "proto": "proto_net",
    "pred_heads": "prediction_layers",
}
"""Name of a timer to the module of the network that it measures."""

ORDER = (
    *("Load Data", "Network Extra", "backbone", "fpn", "proto", "pred_heads", "makepriors"),
    *("Detect", "Track", "Postprocess"),
)
"""The parts as they are listed."""


class Timers:
    """Seconds of every part; a call with a name gives the context to measure.

    Args:
        device: a GPU is waited for at the ends of parts, so that its work counts where it belongs.
        clock: seconds.

    Attributes:
        seconds: part to its time while counting.
        is_counting: False lets time pass uncounted, as for the first images.
    """

    def __init__(
        self,
        device: torch.device | None = None,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.seconds: dict[str, float] = {}
        self.is_counting = True
        self._running: list[str] = []
        self._since = 0.0
        self._clock = clock
        self._is_cuda = device is not None and device.type == "cuda"

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measures a block as the part `name`."""
        self.start(name)
        try:
            yield
        finally:
            self.stop()

    def start(self, name: str) -> None:
        """Begins a part and pauses the one that runs."""
        self._book()
        self._running.append(name)

    def stop(self) -> None:
        """Ends the part begun last; the one before it goes on."""
        self._book()
        self._running.pop()

    def _book(self) -> None:
        """Gives the time since the last change to the part that ran."""
        if self._is_cuda:
            torch.cuda.synchronize()
        now = self._clock()
        if self._running and self.is_counting:
            name = self._running[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now

    def watch(self, network: nn.Module) -> None:
        """Measures the parts that a network has as modules, and its making of priors."""
        for name, attribute in NETWORK_PARTS.items():
            part = getattr(network, attribute, None)
            modules = part if isinstance(part, nn.ModuleList) else [part]
            for module in modules:
                if isinstance(module, nn.Module):
                    module.register_forward_pre_hook(self._starter(name))
                    module.register_forward_hook(self._stopper)
        make_priors = getattr(network, "priors", None)
        if make_priors is not None:
            network.__dict__["priors"] = self._timed("makepriors", make_priors)

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            with self(name):
                return function(*args)

        return run

    def _starter(self, name: str) -> Callable[..., None]:
        def start(*_: Any) -> None:
            self.start(name)

        return start

    def _stopper(self, *_: Any) -> None:
        self.stop()

    @property
    def total(self) -> float:
        """Seconds of all parts."""
        return sum(self.seconds.values())

    def table(self, num_images: int) -> list[str]:
        """Lines with milliseconds per image of every part that ran, their sum, and frames/s."""
        if not num_images or not self.total:
            return ["no time was measured: the first two images are not counted"]
        known = [name for name in ORDER if name in self.seconds]
        names = [*known, *(name for name in self.seconds if name not in ORDER)]
        rows = [(name, 1000 * self.seconds[name] / num_images) for name in names]
        rows.append(("total", 1000 * self.total / num_images))
        width = max(len(name) for name, _ in rows)
        lines = [f"{'part':{width}s}   ms/image", f"{'-' * width}   --------"]
        lines += [f"{name:{width}s} {value:10.2f}" for name, value in rows]
        return [*lines, f"{num_images / self.total:.2f} frames per second over {num_images} images"]
