"""Flags of the evaluation command (spec section 9)."""

from __future__ import annotations

from pathlib import Path

from stmask.commands.flags import add_boolean, share
from vidseg_common.config import ArgumentParser
from vidseg_common.metrics.parallel import available_cpus, positive_int
from vidseg_common.sharding import add_shard_flags

INERT = (*("display_fpn_outs", "ap_data_file", "bbox_det_file", "eval_types", "clip_eval_mode"),)
"""Flags that are accepted because original command lines have them; they do nothing."""

DEFAULT_MODEL = "weights/ssd300_mAP_77.43_v2.pth"
"""Of the original command; nobody publishes such a file."""

_INERT_HELP = "accepted, does nothing"


def build_parser() -> ArgumentParser:
    """Every flag of the original command, and those of this one."""
    parser = ArgumentParser(
        "eval.py",
        description="Segment and score a data set; or draw the objects of an image, a folder of "
        "images, a video or what a webcam sees.",
    )
    _add_model_flags(parser)
    _add_data_flags(parser)
    _add_result_flags(parser)
    _add_display_flags(parser)
    _add_source_flags(parser)
    _add_inert_flags(parser)
    return parser


def add_network_flags(parser: ArgumentParser) -> None:
    """Flags of the weights and of how they run, which `stmask predict` has too."""
    add = parser.add_argument
    add("--config", metavar="NAME", help="configuration; default: by the name of the file")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    add("--precision", choices=("fp32", "bf16", "fp16"), default="fp32", help="of the network")
    add_boolean(
        parser,
        "--cross_class_nms",
        help="suppress overlaps across classes (the mAP column of the published tables); false: "
        "within each class (mAP*); default: configuration, true",
    )
    add_boolean(
        parser,
        "--fast_nms",
        help="false: classical greedy NMS; acts without temporal fusion only; default: true",
    )
    add(
        "--max_memory",
        type=positive_int,
        metavar="N",
        help="objects remembered; beyond it the ones that were lost for longest are forgotten; "
        "default: 1000",
    )
    add_boolean(
        parser,
        "--non_strict",
        default=False,
        help="load the tensors that fit and list the others",
    )


def _add_model_flags(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--trained_model",
        default=DEFAULT_MODEL,
        metavar="PATH",
        help="checkpoint; 'latest' and 'interrupt' look in weights/",
    )
    add_network_flags(parser)
    add_boolean(parser, "--cuda", default=True, help="false: the CPU whatever --device says")
    parser.add_argument(
        "--batch_size", type=positive_int, default=1, help="the tracker takes 1 only"
    )


def _add_data_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--eval_dataset", metavar="NAME", help="another data set than the configuration's")
    add("--ann_file", type=Path, help="annotation file of a data set of your own")
    add("--img_prefix", type=Path, help="its folder of frames; default: that of --ann_file")
    for name, text in (
        ("use_valid_sub", "run on the last tenth of the training videos"),
        ("use_train_sub", "run on the first nine tenths of the training videos"),
        ("only_calc_metrics", "score the existing --mask_det_file, log the numbers"),
    ):
        # None leaves the choice to the configuration.
        add(f"--{name}", action="store_true", default=None, help=text)
    add("--shuffle", action="store_true", help="videos in random order")
    add("--seed", type=int, metavar="N", help="of --shuffle")
    add("--no_sort", action="store_true", help="videos in the order of the file, not by id")
    add("--max_images", type=int, default=-1, metavar="N", help="frames to run; -1: all")
    add("--num_workers", type=int, default=4, metavar="N", help="frames read ahead; 0: no thread")


def _add_result_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--mask_det_file",
        type=Path,
        default=Path("results/eval_mask_detections.json"),
        help="the submission; pictures go beside it",
    )
    add_boolean(parser, "--output_json", default=True, help="write --mask_det_file")
    add_boolean(parser, "--output_web_json", default=False, help="write a file for the viewer")
    add("--web_det_path", type=Path, default=Path("web/dets"), help="folder of that file")
    add("--no_metric", action="store_true", help="do not score")
    add("--log_folder", type=Path, default=Path("weights/temp/train_log"), help="of the event log")
    add_shard_flags(parser, "videos")
    add("--workers", type=positive_int, default=available_cpus(), help="processes of the metric")
    add("--benchmark", action="store_true", help="print times; write and draw nothing")
    add("--no_bar", action="store_true", help="no progress bar")


def _add_display_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--display", action="store_true", help="write pictures in place of the submission")
    add("--top_k", type=positive_int, default=100, help="the most objects drawn in a frame")
    add("--score_threshold", type=share, default=0.0, help="objects below it are not drawn")
    for name, text in (
        ("masks", "paint masks"),
        ("bboxes", "draw boxes"),
        ("text", "write class and id"),
        ("scores", "write scores"),
    ):
        add_boolean(parser, f"--display_{name}", default=True, help=text)
    add("--detect", action="store_true", help="boxes only, for drawing and --benchmark")
    add("--no_crop", action="store_true", help="masks are not cut at their boxes")
    add("--display_fps", action="store_true", help="write the frame rate into pictures")
    add_boolean(
        parser,
        "--display_lincomb",
        default=False,
        help="also draw which prototypes make up each mask",
    )
    add("--mask_proto_debug", action="store_true", help="also draw the prototypes")


def _add_source_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--image", metavar="IN[:OUT]", help="one image; default of OUT: beside --mask_det_file")
    add("--images", metavar="IN[:OUT]", help="folder of frames, ordered by their numbers")
    add("--video", metavar="IN[:OUT]", help="video file or number of a webcam; no OUT: a window")
    add(
        "--video_multiframe",
        type=positive_int,
        default=1,
        metavar="N",
        help="frames of a video read ahead",
    )
    add("--emulate_playback", action="store_true", help="show frames no faster than in real time")


def _add_inert_flags(parser: ArgumentParser) -> None:
    add_boolean(parser, "--display_fpn_outs", help=_INERT_HELP)
    parser.add_argument("--ap_data_file", metavar="PATH", help=_INERT_HELP)
    parser.add_argument("--bbox_det_file", metavar="PATH", help=_INERT_HELP)
    parser.add_argument("--eval_types", nargs="+", metavar="TYPE", help=_INERT_HELP)
    text = "accepted: an interrupted run is continued in any case"
    parser.add_argument("--resume", action="store_true", help=text)
    add_boolean(parser, "--clip_eval_mode", help=_INERT_HELP)
