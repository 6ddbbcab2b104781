"""`visualize_att_maps.py`: draws where the decoder looks in the frames of every clip (spec 8.5)."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from devis.checkpoint import load_network
from devis.commands.common import add_override_words
from devis.config import Config, load_config
from devis.data.opening import OpenSet
from devis.evaluation_set import check_images, open_evaluation_set, paths_of
from devis.inference.attention import AttentionRecorder, LayerAttention
from devis.inference.predictor import ClipSeen, Image, Predictor
from devis.inference.results import finish
from devis.model.segmenter import DeVIS
from devis.outputs.attention_pictures import Shown, figure
from devis.outputs.track_pictures import score_text
from devis.weights import require_clips
from vidseg_common.commands.common import say
from vidseg_common.config import ArgumentParser
from vidseg_common.datasets.annotations import Video
from vidseg_common.distributed import select_device
from vidseg_common.errors import ConfigError
from vidseg_common.files import check_writable
from vidseg_common.metrics.parallel import positive_int
from vidseg_common.video import open_source, read_image, write_image

#: Folder in OUTPUT_DIR where TEST.VIZ.OUT_VIZ_PATH names none.
FOLDER = "attention_maps"
#: Levels of the transformer, finest first.
LEVELS = (0, 1, 2, 3)


def build_parser() -> ArgumentParser:
    """Flags of the command."""
    parser = ArgumentParser(
        "visualize_att_maps.py",
        description="Draws the attention maps of the decoder, for every clip of the videos "
        "TEST.VIZ.VIDEO_NAMES of the validation set, or of all. Pictures go to "
        f"TEST.VIZ.OUT_VIZ_PATH, or to OUTPUT_DIR/{FOLDER}.",
    )
    add = parser.add_argument
    add("--config-file", required=True, metavar="FILE", help="YAML file, or name of a shipped one")
    add(
        "--merge-resolution",
        type=int,
        choices=LEVELS,
        help="all instances in one figure, points of all levels on the grid of this level "
        "(0: the finest); default: a figure for each instance, points of --used-resolution",
    )
    add("--layer", type=int, default=5, help="decoder layer, from 0")
    add(
        "--used-resolution",
        type=int,
        choices=LEVELS,
        default=1,
        help="the level whose points are shown, without --merge-resolution",
    )
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    add("--max-clips", type=positive_int, metavar="N", help="stop a video after this many clips")
    add_override_words(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point.

    Raises:
        UserError: flags, weights, data or an output are unusable.
    """
    args = build_parser().parse_args(argv)
    cfg = load_config(args.config_file, args.opts)
    require_clips(cfg, args.config_file)
    levels = cfg.MODEL.NUM_FEATURE_LEVELS
    for flag in ("merge_resolution", "used_resolution"):
        value = getattr(args, flag)
        if value is not None and value >= levels:
            raise ConfigError(
                f"--{flag.replace('_', '-')} {value}: the network has the levels 0 to {levels - 1}"
            )
    if not cfg.MODEL.WEIGHTS:
        raise ConfigError("MODEL.WEIGHTS: expected the file of the model, it is empty")
    folder = check_writable(cfg.TEST.VIZ.OUT_VIZ_PATH or Path(cfg.OUTPUT_DIR) / FOLDER)
    chosen = open_evaluation_set(cfg)
    videos = [video for video in chosen.data.videos if cfg.TEST.VIZ.wants(video.name)]
    if not videos:
        raise ConfigError(
            f"TEST.VIZ.VIDEO_NAMES: {chosen.file} has none of {cfg.TEST.VIZ.VIDEO_NAMES}"
        )
    check_images(chosen, videos)
    device = select_device(args.device)
    network = load_network(cfg.MODEL.WEIGHTS, cfg)
    assert isinstance(network, DeVIS)
    recorder = AttentionRecorder(network, args.layer)
    predictor = Predictor(network.to(device), cfg, device)
    with recorder.listening(), tqdm(videos, unit="video", disable=None) as bar:
        for video in bar:
            job = _Video(cfg, chosen, video, folder, args.merge_resolution, args.used_resolution)
            say(*job.draw(predictor, recorder, args.max_clips))
    return 0


@dataclass(frozen=True)
class _Video:
    """A video whose clips are drawn."""

    cfg: Config
    chosen: OpenSet
    video: Video
    folder: Path
    merge: int | None
    level: int

    def draw(
        self, predictor: Predictor, recorder: AttentionRecorder, max_clips: int | None
    ) -> list[str]:
        """Runs the clips and draws them; returns a line that says how many there were."""
        count = 0

        def on_clip(clip: ClipSeen) -> None:
            nonlocal count
            count += self._draw_clip(clip, recorder.of_clip(clip))

        with closing(self._frames(max_clips)) as frames:
            predictor.run(frames, on_clip)
        return [f"{self.video.name}: {count} figures in {self.folder / self.video.name}"]

    def _frames(self, max_clips: int | None) -> Generator[Image, None, None]:
        paths = paths_of(self.chosen, self.video)
        if max_clips is not None:
            settings = self.cfg.TEST.CLIP_TRACKING
            num_frames = self.cfg.MODEL.DEVIS.NUM_FRAMES
            paths = paths[: num_frames + (max_clips - 1) * settings.STRIDE]
        with open_source(paths, prefetch=self.cfg.NUM_WORKERS) as source:
            for frame in source:
                yield frame.image

    def _draw_clip(self, clip: ClipSeen, attention: LayerAttention) -> int:
        """One figure of all instances, or one of each; returns how many."""
        paths = paths_of(self.chosen, self.video)
        images = [read_image(paths[number]) for number in clip.frames[: len(clip.output.scores)]]
        # Only the thresholds of frames and of tracks count: a clip is short.
        settings = replace(self.cfg.TEST.CLIP_TRACKING, MIN_DETECTIONS=1)
        names = self.chosen.data.category_names()
        shown = [
            Shown(
                track,
                int(clip.slots[track.number]),
                f"{names.get(track.label, track.label)} {track.score:.2f}",
            )
            for track in finish(clip.seen, settings)
        ]
        height, width = attention.shapes[self.level if self.merge is None else self.merge]
        tail = f"res_{height}-{width}.png"
        folder, start = self.folder / self.video.name, f"window_{clip.number}"
        groups = {f"{start}_{tail}": shown} if self.merge is not None and shown else {}
        if self.merge is None:
            masks = clip.output.mask_of.tolist()
            groups = {f"{start}_{_name(one, masks)}_{tail}": [one] for one in shown}
        for name, group in groups.items():
            picture = figure(images, group, attention, merge=self.merge, level=self.level)
            write_image(folder / name, picture)
        return len(groups)


def _name(shown: Shown, masks: Sequence[int]) -> str:
    track = shown.track
    return f"{score_text(track.score)}_track_{track.number}_id_{masks[track.number]}"
