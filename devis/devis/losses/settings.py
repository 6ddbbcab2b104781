"""Costs and weights of the training (spec 6.1, 6.3)."""

from __future__ import annotations

from dataclasses import dataclass

#: Names of the terms of every decoder layer.
BOX_TERMS = ("loss_ce", "loss_bbox", "loss_giou")
MASK_TERMS = ("loss_mask", "loss_dice")


@dataclass(frozen=True)
class LossSettings:
    """What the matching and the losses need to know.

    Attributes:
        class_cost: of the matching.
        l1_cost: of the matching.
        giou_cost: of the matching.
        sum_l1: clips: sum over the four coordinates of a box rather than their mean.
        class_weight: of the focal loss of classes.
        l1_weight: of the box coordinates.
        giou_weight: of the generalised overlap of boxes.
        mask_weight: of the focal loss of masks.
        dice_weight: of the dice loss of masks.
        alpha: weight of positives in the focal loss of classes.
        dec_layers: decoder layers; the last one's terms have no number in their names.
        auxiliary: the other layers have losses too.
        weigh_layers: later layers weigh more: 1/30 to 5/30, and 1/2 for the last of six.
        mask_layers: layers, beside the last, with mask losses.
        masks: there are masks.
    """

    class_cost: float = 2.0
    l1_cost: float = 5.0
    giou_cost: float = 2.0
    sum_l1: bool = False
    class_weight: float = 2.0
    l1_weight: float = 5.0
    giou_weight: float = 2.0
    mask_weight: float = 1.0
    dice_weight: float = 1.0
    alpha: float = 0.25
    dec_layers: int = 6
    auxiliary: bool = True
    weigh_layers: bool = False
    mask_layers: tuple[int, ...] = (2,)
    masks: bool = True

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers with losses."""
        last = self.dec_layers - 1
        return tuple(range(self.dec_layers)) if self.auxiliary else (last,)

    def suffix(self, layer: int) -> str:
        """What follows the name of a term of a layer."""
        return "" if layer == self.dec_layers - 1 else f"_{layer}"

    def has_masks(self, layer: int) -> bool:
        """Whether a layer has mask losses."""
        return self.masks and layer in {*self.mask_layers, self.dec_layers - 1}

    def weights(self) -> dict[str, float]:
        """Name of every term of the total loss to its weight."""
        boxes = dict(
            zip(BOX_TERMS, (self.class_weight, self.l1_weight, self.giou_weight), strict=True)
        )
        masks = dict(zip(MASK_TERMS, (self.mask_weight, self.dice_weight), strict=True))
        table: dict[str, float] = {}
        for layer in self.layers:
            end, share = self.suffix(layer), self._share(layer)
            table |= {name + end: weight * share for name, weight in boxes.items()}
            if self.has_masks(layer):
                table |= {name + end: weight for name, weight in masks.items()}
        return table

    def _share(self, layer: int) -> float:
        """The shares of six layers add up to one."""
        if not self.weigh_layers:
            return 1.0
        last = self.dec_layers - 1
        return 0.5 if layer == last else (layer + 1) / (last * (last + 1))
