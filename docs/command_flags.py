"""Every command line of the repository and the parser behind it, for the documents and tests."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

from vidseg_common.config import ArgumentParser
from vidseg_common.metrics.parallel import available_cpus

#: Command as it is typed, and the function that parses its flags.
COMMANDS = {
    "stcn predict": ("stcn.commands.predict", "main"),
    "stcn demo": ("stcn.commands.demo", "main"),
    "stcn train": ("stcn.commands.train", "main"),
    "stcn bench": ("stcn.commands.bench", "main"),
    "stcn parity": ("stcn.parity", "main"),
    "stcn eval davis2016": ("stcn.commands.eval_davis", "main_2016"),
    "stcn eval davis2017": ("stcn.commands.eval_davis", "main_2017"),
    "stcn eval youtube": ("stcn.commands.eval_youtube", "main"),
    "stcn eval generic": ("stcn.commands.eval_generic", "main"),
    "stcn eval youtube-ms": ("stcn.commands.ms", "main_eval"),
    "stcn eval merge-ms": ("stcn.commands.ms", "main_merge"),
    "stcn download weights": ("stcn.tools.weights", "main"),
    "stcn download datasets": ("stcn.tools.datasets", "main"),
    "stcn download bl30k": ("stcn.tools.bl30k", "main"),
    "eval_davis_2016.py": ("stcn.commands.eval_davis", "main_2016"),
    "eval_davis.py": ("stcn.commands.eval_davis", "main_2017"),
    "eval_youtube.py": ("stcn.commands.eval_youtube", "main"),
    "eval_generic.py": ("stcn.commands.eval_generic", "main"),
    "ms.eval_youtube": ("stcn.commands.ms", "main_eval"),
    "ms.merge_ensemble": ("stcn.commands.ms", "main_merge"),
    "train.py": ("stcn.commands.train", "main"),
    "download_model.py": ("stcn.tools.weights", "main"),
    "download_datasets.py": ("stcn.tools.datasets", "main"),
    "download_bl30k.py": ("stcn.tools.bl30k", "main"),
    "resize_youtube.py": ("stcn.tools.resize", "main_youtube"),
    "resize_length.py": ("stcn.tools.resize", "main_length"),
    "stcn.parity": ("stcn.parity", "main"),
    "stcn.demo_weights": ("stcn.demo_weights", "main"),
    "stemseg predict": ("stemseg.commands.predict", "main"),
    "stemseg eval": ("stemseg.commands.eval", "main"),
    "stemseg train": ("stemseg.commands.train", "main"),
    "stemseg download": ("stemseg.commands.download", "main"),
    "stemseg visualize-data": ("stemseg.commands.visualize_data", "main"),
    "stemseg resize-mapillary": ("stemseg.commands.resize_mapillary", "main"),
    "stemseg filter-mots": ("stemseg.commands.filter_mots", "main"),
    "stemseg bench": ("stemseg.commands.bench", "main"),
    "stemseg parity": ("stemseg.parity", "main"),
    "stemseg.parity": ("stemseg.parity", "main"),
    "stmask predict": ("stmask.commands.predict", "main"),
    "stmask eval": ("stmask.commands.eval", "main"),
    "stmask train": ("stmask.commands.train", "main"),
    "stmask bench": ("stmask.commands.bench", "main"),
    "stmask/train.py": ("stmask.commands.train", "main"),
    "stmask viewer": ("stmask.commands.viewer", "main"),
    "stmask download": ("stmask.commands.download", "main"),
    "stmask parity": ("stmask.parity", "main"),
    "stmask.parity": ("stmask.parity", "main"),
    "stmask/eval.py": ("stmask.commands.eval", "main"),
    "scripts/split_valid_sub.py": ("stmask.tools.split_sub", "main"),
    "scripts/logger.py": ("stmask.tools.logger", "main"),
    "scripts/plot_loss.py": ("stmask.tools.plot_loss", "main"),
    "scripts/unpack_statedict.py": ("stmask.tools.unpack", "main"),
    "scripts/save_bboxes.py": ("stmask.tools.boxes", "main_save"),
    "scripts/cluster_bbox_sizes.py": ("stmask.tools.boxes", "main_cluster"),
    "scripts/bbox_recall.py": ("stmask.tools.boxes", "main_recall"),
    "scripts/augment_bbox.py": ("stmask.tools.box_search", "main_augment"),
    "scripts/optimize_bboxes.py": ("stmask.tools.box_search", "main_optimize"),
    "web/server.py": ("stmask.commands.viewer", "main"),
    "devis predict": ("devis.commands.predict", "main"),
    "devis eval": ("devis.commands.eval", "main"),
    "devis download": ("devis.commands.download", "main"),
    "devis visualize-att-maps": ("devis.commands.visualize_att_maps", "main"),
    "devis/visualize_att_maps.py": ("devis.commands.visualize_att_maps", "main"),
    "devis bench": ("devis.commands.bench", "main"),
    "devis train": ("devis.commands.train", "main"),
    "devis/main.py": ("devis.commands.main", "main"),
    "devis visualize-dataset": ("devis.commands.visualize_dataset", "main"),
    "devis/visualize_dataset.py": ("devis.commands.visualize_dataset", "main"),
    "devis parity": ("devis.parity", "main"),
    "devis.parity": ("devis.parity", "main"),
    "vatrack predict": ("vatrack.commands.predict", "main"),
    "vatrack eval": ("vatrack.commands.test", "main"),
    "tools/test.py": ("vatrack.commands.test", "main"),
    "vatrack download": ("vatrack.commands.download", "main"),
    "vatrack train": ("vatrack.commands.train", "main"),
    "tools/train.py": ("vatrack.commands.train", "main"),
    "vatrack create_sailvoscut_fromdict": ("vatrack.commands.convert", "main_frames"),
    "tools/create_sailvoscut_fromdict.py": ("vatrack.commands.convert", "main_frames"),
    "vatrack sailvos2coco": ("vatrack.commands.convert", "main_number"),
    "tools/sailvos2coco.py": ("vatrack.commands.convert", "main_number"),
    "vatrack sailvos2coco_cut": ("vatrack.commands.convert", "main_cut"),
    "tools/sailvos2coco_cut.py": ("vatrack.commands.convert", "main_cut"),
    "vatrack json_script": ("vatrack.commands.convert", "main_kind"),
    "tools/json_script.py": ("vatrack.commands.convert", "main_kind"),
    "vatrack per_video": ("vatrack.commands.convert", "main_per_video"),
    "tools/per_video.py": ("vatrack.commands.convert", "main_per_video"),
    "vatrack parity": ("vatrack.parity", "main"),
    "vatrack.parity": ("vatrack.parity", "main"),
    "inference/main.py": ("stemseg.commands.eval", "main"),
    "training/main.py": ("stemseg.commands.train", "main"),
    "visualize_data_loading.py": ("stemseg.commands.visualize_data", "main"),
    "resize_mapillary.py": ("stemseg.commands.resize_mapillary", "main"),
    "kitti_mots_postprocessing.py": ("stemseg.commands.filter_mots", "main"),
    "vidseg convert": ("vidseg_common.commands.convert", "main"),
    "vidseg validate": ("vidseg_common.commands.validate", "main"),
    "vidseg info": ("vidseg_common.commands.info", "main"),
    "vidseg show": ("vidseg_common.commands.show", "main"),
    "vidseg split": ("vidseg_common.commands.split", "main"),
    "vidseg pack": ("vidseg_common.commands.pack", "main"),
    "vidseg synth": ("vidseg_common.commands.synth", "main"),
    "vidseg sailvos number": ("vidseg_common.commands.sailvos", "main_number"),
    "vidseg sailvos cut": ("vidseg_common.commands.sailvos", "main_cut"),
    "vidseg sailvos kind": ("vidseg_common.commands.sailvos", "main_kind"),
    "vidseg sailvos per-video": ("vidseg_common.commands.sailvos", "main_per_video"),
    "vidseg sailvos frames": ("vidseg_common.commands.sailvos", "main_frames"),
    "vidseg evaluate": ("vidseg_common.commands.evaluate", "main"),
    "vidseg formats": ("vidseg_common.commands.formats", "main"),
    "vidseg_common.doctor": ("vidseg_common.doctor", "main"),
    "vidseg_common.synthetic": ("vidseg_common.synthetic_cli", "main"),
    "vidseg_common.metrics.davis_jf": ("vidseg_common.metrics.davis_cli", "main"),
    "vidseg_common.metrics.davis_server": ("vidseg_common.metrics.davis_server", "main"),
    "vidseg_common.metrics.mots": ("vidseg_common.metrics.mots_cli", "main"),
    "vidseg_common.metrics.folder_jf": ("vidseg_common.metrics.folder_jf", "main"),
    "vidseg_common.parity": ("vidseg_common.parity.runner", "main"),
}


class _FoundError(Exception):
    """Carries a parser out of the function that made it."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__(parser.prog)
        self.parser = parser


def parser_made_by(function: Callable[..., Any]) -> argparse.ArgumentParser:
    """The parser that a main function makes; nothing else of the function runs."""

    def stop(parser: argparse.ArgumentParser, *_args: object, **_kwargs: object) -> NoReturn:
        raise _FoundError(parser)

    with (
        mock.patch.object(argparse.ArgumentParser, "parse_known_args", stop),
        mock.patch.object(ArgumentParser, "parse_known_args", stop),
    ):
        try:
            function([])
        except _FoundError as found:
            return found.parser
    raise AssertionError(f"{function} parses no flags")


def parser_of(command: str) -> argparse.ArgumentParser:
    """The parser of one of `COMMANDS`."""
    module, name = COMMANDS[command]
    return parser_made_by(getattr(importlib.import_module(module), name))


def actions_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Flags and positional arguments, without --help and those that are not shown."""
    return [
        action
        for action in parser._actions
        if action.dest != "help" and action.help != argparse.SUPPRESS
    ]


def flags_of(parser: argparse.ArgumentParser) -> set[str]:
    """Every spelling of every flag."""
    return set(parser._option_string_actions)


def group_actions(*adders: Callable[[Any], None]) -> list[argparse.Action]:
    """What functions such as `add_memory_flags` add to a parser."""
    parser = argparse.ArgumentParser()
    for adder in adders:
        adder(parser)
    return actions_of(parser)


def signature(action: argparse.Action) -> str:
    """A flag as one types it: all spellings, then its value."""
    if not action.option_strings:
        name = action.metavar or action.dest
        several = f"{name} ..." if action.nargs == argparse.ONE_OR_MORE else f"[{name} ...]"
        return str(name) if action.nargs is None else several
    names = ", ".join(action.option_strings)
    if action.nargs == 0:
        return names
    value = action.metavar or "N"
    if action.metavar is None and action.choices is not None:
        value = " or ".join(str(choice) for choice in action.choices)
    elif action.metavar is None and action.type in (Path, None):
        value = "PATH" if action.type is Path else "NAME"
    return f"{names} {value}{' ...' if action.nargs == '+' else ''}"


def default_text(action: argparse.Action) -> str:
    """What holds when the flag is not given, "" where that says nothing."""
    if action.required and action.nargs != argparse.ZERO_OR_MORE:
        return "required"
    if action.dest == "workers" and action.default == available_cpus():
        return "all cores"
    if action.default is None or action.default is False or action.default == []:
        return ""
    if isinstance(action.default, (list, tuple)):
        between = "x" if action.metavar == "HxW" else " "
        return between.join(str(item) for item in action.default)
    if isinstance(action.default, Path):
        return action.default.as_posix()
    return str(action.default)
