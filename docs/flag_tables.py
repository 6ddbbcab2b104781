"""Tables of flags, read off the parsers of the commands."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from command_flags import actions_of, default_text, group_actions, parser_of, signature

from stcn import options
from stemseg.commands.common import add_choice_flags
from stmask.commands.eval_flags import add_network_flags
from vidseg_common.commands.common import add_data_flags, add_truth_flags

PREFIX = "flags-"


def _add_set_flags(parser: argparse.ArgumentParser) -> None:
    add_data_flags(parser, "annotation file or folder, or results")
    add_truth_flags(parser, "ground truth that results belong to (not of split)")


#: Table to the command whose flags it lists, without those of the groups below.
COMMAND_TABLES = {
    "flags-predict": "stcn predict",
    "flags-demo": "stcn demo",
    "flags-bench": "stcn bench",
    "flags-davis2016": "stcn eval davis2016",
    "flags-davis2017": "stcn eval davis2017",
    "flags-youtube": "stcn eval youtube",
    "flags-generic": "stcn eval generic",
    "flags-youtube-ms": "stcn eval youtube-ms",
    "flags-merge-ms": "stcn eval merge-ms",
    "flags-train": "stcn train",
    "flags-weights": "stcn download weights",
    "flags-datasets": "stcn download datasets",
    "flags-bl30k": "stcn download bl30k",
    "flags-synthetic": "vidseg_common.synthetic",
    "flags-vidseg-convert": "vidseg convert",
    "flags-vidseg-validate": "vidseg validate",
    "flags-vidseg-show": "vidseg show",
    "flags-vidseg-split": "vidseg split",
    "flags-vidseg-pack": "vidseg pack",
    "flags-vidseg-evaluate": "vidseg evaluate",
    "flags-vidseg-number": "vidseg sailvos number",
    "flags-vidseg-cut": "vidseg sailvos cut",
    "flags-vidseg-kind": "vidseg sailvos kind",
    "flags-vidseg-per-video": "vidseg sailvos per-video",
    "flags-vidseg-frames": "vidseg sailvos frames",
    "flags-stemseg-predict": "stemseg predict",
    "flags-stemseg-eval": "stemseg eval",
    "flags-stemseg-train": "stemseg train",
    "flags-stemseg-download": "stemseg download",
    "flags-stemseg-bench": "stemseg bench",
    "flags-stemseg-visualize": "stemseg visualize-data",
    "flags-stemseg-postprocess": "stemseg filter-mots",
    "flags-stemseg-mapillary": "stemseg resize-mapillary",
    "flags-stmask-predict": "stmask predict",
    "flags-stmask-eval": "stmask eval",
    "flags-stmask-train": "stmask train",
    "flags-stmask-bench": "stmask bench",
    "flags-stmask-viewer": "stmask viewer",
    "flags-stmask-download": "stmask download",
    "flags-stmask-split": "scripts/split_valid_sub.py",
    "flags-stmask-logger": "scripts/logger.py",
    "flags-stmask-plot": "scripts/plot_loss.py",
    "flags-stmask-recall": "scripts/bbox_recall.py",
    "flags-devis-train": "devis train",
    "flags-devis-predict": "devis predict",
    "flags-devis-eval": "devis eval",
    "flags-devis-download": "devis download",
    "flags-devis-bench": "devis bench",
    "flags-devis-att-maps": "devis visualize-att-maps",
    "flags-vatrack-predict": "vatrack predict",
    "flags-vatrack-eval": "vatrack eval",
    "flags-vatrack-train": "vatrack train",
    "flags-vatrack-download": "vatrack download",
    "flags-vatrack-frames": "vatrack create_sailvoscut_fromdict",
    "flags-vatrack-number": "vatrack sailvos2coco",
    "flags-vatrack-cut": "vatrack sailvos2coco_cut",
    "flags-vatrack-kind": "vatrack json_script",
    "flags-vatrack-per-video": "vatrack per_video",
}
GROUP_TABLES = {
    "flags-vidseg-data": (_add_set_flags,),
    "flags-stemseg-choices": (add_choice_flags,),
    "flags-stmask-network": (add_network_flags,),
    "flags-memory": (options.add_memory_flags,),
    "flags-output": (options.add_output_flags,),
}
#: What stands in a command's table although a group has it.
EVALUATIONS = ("flags-davis2016", "flags-davis2017", "flags-youtube", "flags-generic")
WITH_OUTPUT_GROUP = (*EVALUATIONS, "flags-youtube-ms")
WITH_CHOICE_GROUP = ("flags-stemseg-predict", "flags-stemseg-eval", "flags-stemseg-bench")
WITH_NETWORK_GROUP = ("flags-stmask-predict", "flags-stmask-eval", "flags-stmask-bench")
WITH_MEMORY_GROUP = (*WITH_OUTPUT_GROUP, "flags-predict", "flags-bench")
WITH_DATA_GROUP = (*("flags-vidseg-validate", "flags-vidseg-show", "flags-vidseg-split"),)
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]


def flag_table(name: str) -> Table:
    """Head and rows of a table of flags.

    Raises:
        KeyError: there is no such table.
    """
    if name in GROUP_TABLES:
        return _table(group_actions(*GROUP_TABLES[name]))
    parser = parser_of(COMMAND_TABLES[name])
    groups = []
    if name in WITH_OUTPUT_GROUP:
        groups.append(options.add_output_flags)
    if name in WITH_MEMORY_GROUP:
        groups.append(options.add_memory_flags)
    if name in WITH_CHOICE_GROUP:
        groups.append(add_choice_flags)
    if name in WITH_NETWORK_GROUP:
        groups.append(add_network_flags)
    if name in WITH_DATA_GROUP:
        groups += GROUP_TABLES["flags-vidseg-data"]
    known = {signature(action) for action in group_actions(*groups)}
    return _table([a for a in actions_of(parser) if signature(a) not in known])


def _table(actions: Sequence[argparse.Action]) -> Table:
    rows = []
    for action in actions:
        meaning = (action.help or "").replace("|", "\\|")
        default = default_text(action)
        rows.append((f"`{signature(action)}`", f"`{default}`" if default else "", meaning))
    return ("flag", "default", "meaning"), rows
