"""Parameters by learning rate: five groups, found by parts of their names (spec 7.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from devis.config_tree import Config

Named = tuple[str, nn.Parameter]


@dataclass(frozen=True)
class Group:
    """Parameters that share a learning rate.

    Attributes:
        name: of the group: base, backbone, linear_proj, mask_head or temporal_linear_proj.
        lr: learning rate at the start.
        parameters: name and parameter, in the order of the network.
    """

    name: str
    lr: float
    parameters: list[Named] = field(default_factory=list)


def freeze(network: nn.Module, cfg: Config) -> None:
    """Switches off the gradient of what does not train.

    Parameters named in SOLVER.FROZEN_PARAMS do not; the whole backbone does not when
    SOLVER.LR_BACKBONE is 0; the stem and the first stage of a ResNet never do.
    """
    never = ("conv1", "layer1") if cfg.MODEL.BACKBONE.startswith("resnet") else ()
    for name, parameter in network.named_parameters():
        _, is_backbone, inner = name.partition("backbone.0.body.")
        fixed = is_backbone and (cfg.SOLVER.LR_BACKBONE == 0 or inner.split(".")[0] in never)
        if fixed or any(part in name for part in cfg.SOLVER.FROZEN_PARAMS):
            parameter.requires_grad_(False)


def groups_of(network: nn.Module, cfg: Config) -> list[Group]:
    """Every trainable parameter in its group; empty groups are kept.

    Args:
        network: after `freeze`.
        cfg: names and learning rates.
    """
    solver, base = cfg.SOLVER, cfg.SOLVER.BASE_LR
    rules = (
        ("backbone", solver.LR_BACKBONE, solver.BACKBONE_NAMES),
        ("linear_proj", base * solver.LR_LINEAR_PROJ_MULT, solver.LR_LINEAR_PROJ_NAMES),
        ("mask_head", base * solver.LR_MASK_HEAD_MULT, solver.LR_MASK_HEAD_NAMES),
        (
            "temporal_linear_proj",
            base * solver.DEVIS.LR_TEMPORAL_LINEAR_PROJ_MULT,
            solver.DEVIS.LR_TEMPORAL_LINEAR_PROJ_NAMES,
        ),
    )
    groups = [Group("base", base), *(Group(name, lr) for name, lr, _ in rules)]
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            found = (i for i, rule in enumerate(rules, 1) if any(part in name for part in rule[2]))
            groups[next(found, 0)].parameters.append((name, parameter))
    return groups


def optimiser_groups(groups: list[Group]) -> list[dict[str, Any]]:
    """The groups as `torch.optim.AdamW` takes them."""
    return [{"params": [p for _, p in group.parameters], "lr": group.lr} for group in groups]


def describe(network: nn.Module, groups: list[Group]) -> Iterator[str]:
    """Lines of the log: every parameter with its learning rate, then the frozen ones."""
    for group in groups:
        yield from (f"{name}  lr {group.lr:g} ({group.name})" for name, _ in group.parameters)
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            yield f"{name}  frozen"
