"""`eval.py --image | --images | --video`: sources without a data set (spec section 9)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from stmask.commands.common import Model
from stmask.commands.flags import say
from stmask.inference.predictor import Predictor
from stmask.outputs.drawing import DrawOptions
from stmask.outputs.pictures import Artist
from stmask.playback import Image, Playback, play_folder, play_image, play_video, split_pair
from vidseg_common.video import BackgroundWriter, Frame, write_image


def artist_of(args: argparse.Namespace, class_names: Sequence[str]) -> Artist:
    """What the flags of drawing describe."""
    options = DrawOptions(
        top_k=args.top_k,
        score_threshold=args.score_threshold,
        masks=args.display_masks and not args.detect,
        boxes=args.display_bboxes,
        text=args.display_text,
        scores=args.display_scores,
    )
    return Artist(
        class_names,
        options,
        with_rate=args.display_fps,
        with_combinations=args.display_lincomb,
        with_prototypes=args.mask_proto_debug,
    )


def play(args: argparse.Namespace, model: Model, predictor: Predictor) -> int:
    """Segments and draws an image, a folder, a video or a webcam; tracking starts anew.

    Raises:
        UserError: the source cannot be read, or the output cannot be written or shown.
    """
    source, target = split_pair(args.image or args.images or args.video)
    beside = args.mask_det_file.parent / "out"
    artist = artist_of(args, model.cfg.classes)
    predictor.reset()
    with ExitStack() as stack:
        writer = stack.enter_context(BackgroundWriter())

        def draw(frame: Frame, rate: float | None) -> Image:
            found = predictor.step(frame.image)
            assert predictor.detections is not None
            path = _picture_path(args, target, beside, frame.name)
            for extra, picture in artist.extras(path, predictor.detections):
                writer.submit(write_image, extra, picture)
            return artist.draw(frame.image, found, rate)

        playback = Playback(
            draw,
            in_real_time=args.emulate_playback,
            max_frames=args.max_images if args.max_images > 0 else None,
            prefetch=args.video_multiframe,
        )
        if args.image:
            path = _picture_path(args, target, beside, Path(source).stem)
            play_image(playback, Path(source), path)
            say(f"picture in {path}")
        elif args.images:
            count = play_folder(playback, Path(source), target or beside)
            say(f"{count} pictures in {target or beside}")
        else:
            count = play_video(playback, source, target)
            say(f"{count} frames" + (f" in {target}" if target else ""))
    return 0


def _picture_path(args: argparse.Namespace, target: Path | None, beside: Path, name: str) -> Path:
    """Where the picture of a frame is, or would be: what goes beside it takes its name."""
    if args.image and target is not None:
        return target
    folder = target or beside
    if args.video and target is not None:
        folder = target.with_suffix("")
    return folder / f"{name}.png"
