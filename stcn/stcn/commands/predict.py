"""`stcn predict`: segments the user's own video from one or more masks."""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from stcn.checkpoint import load_network
from stcn.commands.common import say
from stcn.inference.bidirectional import propagate_bidirectional
from stcn.inference.predictor import Prediction, Predictor
from stcn.options import add_memory_flags, amp_mode, build_policy, inner_side
from stcn.weights import Weights, find_weights
from vidseg_common.config import ArgumentParser
from vidseg_common.distributed import select_device
from vidseg_common.errors import MaskError, VideoError
from vidseg_common.files import OutputLock, check_writable, write_json
from vidseg_common.masks import object_ids, read_mask, write_mask
from vidseg_common.own_videos import OwnVideo, add_video_flags, predict_each
from vidseg_common.video import (
    BackgroundWriter,
    Frame,
    FrameSource,
    GifSink,
    VideoSink,
    list_images,
    open_source,
)
from vidseg_common.visualize import overlay


def add_flags(parser: ArgumentParser) -> None:
    """Flags of `stcn predict`."""
    add_video_flags(parser)
    parser.add_argument(
        "--mask",
        action="append",
        required=True,
        metavar="[FRAME=]PNG",
        help="mask of a frame (default the first); repeat for later objects and corrections; "
        "a folder gives the mask of every frame that it has a file for; of several videos, a "
        "folder that has such a file, VIDEO.png, or folder, VIDEO/, for each",
    )
    parser.add_argument(
        "--model", default=None, help="weights file, 'official' or 'demo'; default: best at hand"
    )
    parser.add_argument("--size", type=inner_side, help="shorter side to work at; 0: their own")
    parser.add_argument("--amp", action="store_true", help="half precision")
    parser.add_argument(
        "--bidirectional", action="store_true", help="propagate backward from later masks too"
    )
    parser.add_argument("--no-overlay", action="store_true", help="write masks only")
    parser.add_argument("--max-frames", type=int, help="stop after this many frames")
    parser.add_argument(
        "--rgb_masks", choices=("refuse", "snap"), default="refuse", help="masks without palette"
    )
    parser.add_argument("--encode-batch", type=int, default=1, help="frames encoded together")
    add_memory_flags(parser)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = ArgumentParser("stcn predict", description=__doc__)
    add_flags(parser)
    return run(parser.parse_args(argv))


def run(args: argparse.Namespace) -> int:
    """Runs parsed flags; see `predict_video`."""
    weights = find_weights(args.model)
    predictor = functools.cache(lambda: predictor_for(weights, args))

    def predict(video: OwnVideo) -> None:
        summary = predict_video(
            video.path,
            args.mask if video.output == args.output else _masks_of_set(args.mask, video),
            video.output,
            predictor(),
            weights,
            bidirectional=args.bidirectional,
            draw=not args.no_overlay,
            max_frames=args.max_frames,
            rgb_masks=args.rgb_masks,
            encode_batch=args.encode_batch,
        )
        say(
            f"{summary['num_frames']} frames, {summary['fps']:.2f} frames per second, "
            f"objects {summary['object_ids']}, with {weights.title}",
            f"results in {video.output}",
        )

    facts = {"weights": weights.sha256}
    predict_each(args, predict, method="stcn predict", facts=facts, without=("model", "read_mb"))
    return 0


def _masks_of_set(words: Sequence[str], video: OwnVideo) -> list[str]:
    """The masks of one of several videos, from folders with masks of all of them.

    Raises:
        MaskError: a folder has none.
    """
    found = []
    for word in words:
        choices = [Path(word) / f"{video.name}.png", Path(word) / video.name]
        path = next((path for path in choices if path.exists()), None)
        if path is None:
            raise MaskError(f"--mask {word}: of several videos, expected {choices[0]} or a folder")
        found.append(str(path))
    return found


def predictor_for(weights: Weights, args: argparse.Namespace) -> Predictor:
    """The predictor that the flags describe."""
    device = select_device(args.device)
    size = weights.size if args.size is None else args.size or None
    return Predictor(
        load_network(weights.path, device=device),
        policy=build_policy(args),
        size=size,
        amp=amp_mode(args.amp, device),
    )


def predict_video(
    video: Path,
    mask_words: Sequence[str],
    output: Path,
    predictor: Predictor,
    weights: Weights,
    *,
    bidirectional: bool = False,
    draw: bool = True,
    gif: bool = False,
    max_frames: int | None = None,
    rgb_masks: Literal["refuse", "snap"] = "refuse",
    encode_batch: int = 1,
) -> dict[str, Any]:
    """Segments a video into `output/masks/*.png`, `overlay.mp4` and `result.json`.

    Args:
        video: file or folder of frames.
        mask_words: "PNG", "FRAME=PNG" or a folder of masks, each.
        output: created; in use by one run at a time.
        predictor: is reset.
        weights: for the record.
        bidirectional: see `stcn.inference.bidirectional`.
        draw: write the overlay video.
        gif: write it as a GIF too.
        max_frames: stop early.
        rgb_masks: see `vidseg_common.masks.read_mask`.
        encode_batch: see `Predictor.stream`.

    Returns:
        What result.json holds.

    Raises:
        UserError: unusable video, mask or output folder.
    """
    predictor.reset()
    check_writable(output)
    with ExitStack() as stack:
        stack.enter_context(OutputLock(output))
        source = stack.enter_context(open_source(video, max_frames=max_frames))
        masks = read_masks(mask_words, source, video, rgb_masks)
        stream: Iterator[tuple[Frame, Prediction | None]]
        if bidirectional:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stcn-")))
            stream = _both_ways(predictor, source, masks, scratch)
        else:
            stream = _forward(predictor, source, masks, encode_batch)
        writer = _ResultWriter(output, source.fps, stack, draw=draw, gif=gif)
        started = time.perf_counter()
        total = source.num_frames
        for frame, result in tqdm(stream, total=total, desc=source.name, unit="frame"):
            writer.add(frame, result)
        _check_reached(masks, len(writer.frames), video)
        seconds = time.perf_counter() - started
    summary = {
        "video": str(video),
        "weights": {"title": weights.title, "sha256": weights.sha256},
        "height": source.height,
        "width": source.width,
        "video_fps": source.fps,
        "num_frames": len(writer.frames),
        "object_ids": sorted({int(i) for f in writer.frames for i in f["objects"]}),
        "given_masks": sorted(masks),
        "seconds": seconds,
        "fps": len(writer.frames) / seconds,
        "frames": writer.frames,
    }
    write_json(output / "result.json", summary)
    return summary


class _ResultWriter:
    """Masks, overlay and per-frame facts of a running prediction."""

    def __init__(
        self, output: Path, fps: float, stack: ExitStack, *, draw: bool, gif: bool
    ) -> None:
        self.folder = output / "masks"
        self.frames: list[dict[str, Any]] = []
        self._writer = stack.enter_context(BackgroundWriter())
        self._videos: list[VideoSink | GifSink] = []
        if draw:
            self._videos.append(stack.enter_context(VideoSink(output / "overlay.mp4", fps)))
        if gif:
            self._videos.append(stack.enter_context(GifSink(output / "overlay.gif", fps)))

    def add(self, frame: Frame, result: Prediction | None) -> None:
        if result is None:
            mask = np.zeros(frame.image.shape[:2], dtype=np.uint8)
        else:
            mask = result.mask
        self._writer.submit(write_mask, self.folder / f"{Path(frame.name).stem}.png", mask)
        if self._videos:
            picture = overlay(frame.image, mask)
            for video in self._videos:
                video.write(picture, frame.time_s, frame.duration_s)
        boxes = {str(i): _box(mask == i) for i in object_ids(mask)}
        self.frames.append({"name": frame.name, "time_s": frame.time_s, "objects": boxes})


def _box(mask: np.ndarray) -> dict[str, Any]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x, y = int(columns[0]), int(rows[0])
    box = [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1]
    return {"area": int(mask.sum()), "bbox": box}


def _forward(
    predictor: Predictor,
    source: FrameSource,
    masks: Mapping[int, np.ndarray],
    encode_batch: int,
) -> Iterator[tuple[Frame, Prediction | None]]:
    waiting: deque[Frame] = deque()

    def images() -> Iterator[np.ndarray]:
        for frame in source:
            waiting.append(frame)
            yield frame.image

    for _, result in predictor.stream(images(), masks, encode_batch=encode_batch):
        yield waiting.popleft(), result


def _both_ways(
    predictor: Predictor, source: FrameSource, masks: Mapping[int, np.ndarray], scratch: Path
) -> Iterator[tuple[Frame, Prediction | None]]:
    """Spools the frames to disk: a video file cannot be read backward."""
    spool, probs = scratch / "frames", scratch / "probs"
    spool.mkdir()
    probs.mkdir()
    facts: list[Frame] = []
    for frame in source:
        np.save(spool / f"{frame.index}.npy", frame.image)
        facts.append(replace(frame, image=frame.image[:0]))
    _check_reached(masks, len(facts), Path(source.name))

    def read(i: int) -> np.ndarray:
        return np.load(spool / f"{i}.npy")

    for i, result in propagate_bidirectional(predictor, read, len(facts), masks, probs):
        yield replace(facts[i], image=read(i)), result


def _check_reached(masks: Mapping[int, np.ndarray], num_frames: int, video: Path) -> None:
    late = [i for i in masks if i >= num_frames]
    if late:
        raise VideoError(f"{video}: has {num_frames} frames, but masks are given for {late}")
    if num_frames < 2:
        raise VideoError(f"{video}: has one frame only; there is nothing to propagate to")


def read_masks(
    words: Sequence[str],
    source: FrameSource,
    video: Path,
    rgb_masks: Literal["refuse", "snap"] = "refuse",
) -> dict[int, np.ndarray]:
    """Frame index to mask, from words of the command line.

    Raises:
        MaskError: unreadable, of another size than the video, or without any object.
    """
    masks: dict[int, np.ndarray] = {}
    for word in words:
        for i, path in _mask_files(word, video):
            mask = read_mask(path, rgb=rgb_masks)
            if mask.shape != (source.height, source.width):
                raise MaskError(
                    f"{path}: mask is {mask.shape[1]}x{mask.shape[0]}, "
                    f"the video is {source.width}x{source.height}"
                )
            if not object_ids(mask):
                raise MaskError(f"{path}: the mask is empty, there is no object to follow")
            masks[i] = mask
    return masks


def _mask_files(word: str, video: Path) -> Iterator[tuple[int, Path]]:
    number, sign, rest = word.partition("=")
    if sign and number.isdigit():
        yield int(number), Path(rest)
        return
    path = Path(word)
    if not path.is_dir():
        yield 0, path
        return
    files = [file for file in list_images(path) if file.suffix.lower() == ".png"]
    if not files:
        raise MaskError(f"{path}: holds no PNG masks")
    stems = [p.stem for p in list_images(video)] if video.is_dir() else []
    for file in files:
        if file.stem in stems:
            yield stems.index(file.stem), file
        elif file.stem.isdigit() and not stems:
            yield int(file.stem), file
        else:
            raise MaskError(f"{file}: its name fits no frame of {video}")
