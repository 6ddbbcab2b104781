"""Gradient checkpointing: the same numbers from less memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from devis.model import build
from devis.model.checkpointing import Checkpointed, set_checkpointing
from devis.model.segmenter import DeVIS, MaskHeadModel
from devis.model.settings import ModelSettings, TemporalSettings

SMALL = {
    "num_classes": 3,
    "num_queries": 6,
    "hidden_dim": 128,
    "dim_feedforward": 32,
    "enc_layers": 2,
    "dec_layers": 2,
    "mask_layers": (0,),
}


def _gradients(network: DeVIS | MaskHeadModel, images: Tensor) -> dict[str, Tensor]:
    """Of a sum over everything that is predicted; dropout is on."""
    network.zero_grad()
    torch.manual_seed(3)
    is_clip = network.settings.family == "devis"
    chosen = [torch.tensor([0, 1])] * (1 if is_clip else len(images))
    found = network(images, choose=lambda *_: chosen)
    total = found.detections.logits.square().sum() + found.detections.boxes.square().sum()
    (total + sum(masks.square().mean() for masks in found.masks.values())).backward()
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", ["devis", "mask_head"])
def test_gradients_are_the_same(family: str) -> None:
    temporal = TemporalSettings(num_frames=2) if family == "devis" else None
    torch.manual_seed(0)
    settings = ModelSettings(family=family, temporal=temporal, **SMALL)  # type: ignore[arg-type]
    network = build(settings).train()
    images = torch.randn(2, 3, 64, 96)
    plain = _gradients(network, images)  # type: ignore[arg-type]
    set_checkpointing(network, enabled=True)
    kinds = {type(m).__name__ for m in network.modules() if isinstance(m, Checkpointed)}
    assert {"ResNet", "Encoder", "Decoder"} < kinds
    again = _gradients(network, images)  # type: ignore[arg-type]
    assert plain.keys() == again.keys()
    for name, grad in plain.items():
        torch.testing.assert_close(again[name], grad, rtol=0, atol=0, msg=name)


def test_without_gradients_nothing_is_kept_or_repeated() -> None:
    network = build(ModelSettings(**SMALL)).eval()  # type: ignore[arg-type]
    set_checkpointing(network, enabled=True)
    calls: list[int] = []
    network.transformer.encoder.layers[0].register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        network(torch.randn(1, 3, 64, 64))
    assert calls == [1]
