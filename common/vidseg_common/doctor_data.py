"""Doctor's part for data sets in the layout of spec stcn section 7."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vidseg_common.doctor_report import Section

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
MAX_NAMES = 4
MAX_EXAMINED = 500  # sequences whose frames are compared one by one; BL30K has 30,000
DOWNLOAD = "download it again (download_datasets.py) or finish the extraction"


@dataclass(frozen=True)
class VideoSet:
    """What a data set of videos must hold.

    Attributes:
        name: name in the report.
        folder: place below the root.
        num_sequences: number of sequences in the published set, 0 where it is not fixed.
        frames: place of the frames below `folder`.
        annotations: place of the annotations below `folder`.
        rule: which frames need an annotation: "every", "first" (at least the first frame) or
            "some" (at least one frame).
        lists: files with names of sequences that must exist, below `folder`.
        frames_elsewhere: place below the root with more frames of the same videos; "" for none.
        meta: whether `folder` must hold a readable meta.json.
        remedy: what to do when the set is not whole.
    """

    name: str
    folder: str
    num_sequences: int
    frames: str = "JPEGImages"
    annotations: str = "Annotations"
    rule: str = "every"
    lists: tuple[str, ...] = ()
    frames_elsewhere: str = ""
    meta: bool = False
    remedy: str = DOWNLOAD


def _davis(name: str, folder: str, count: int, rule: str, lists: tuple[str, ...]) -> VideoSet:
    return VideoSet(
        name, folder, count, "JPEGImages/480p", "Annotations/480p", rule=rule, lists=lists
    )


def _youtube_valid(name: str, folder: str, count: int) -> VideoSet:
    everything = f"{folder}/all_frames/valid_all_frames/JPEGImages"
    return VideoSet(
        name,
        f"{folder}/valid",
        count,
        rule="some",
        frames_elsewhere=everything,
        meta=True,
    )


RESIZE = "run resize_youtube.py on YouTube/train"
VIDEO_SETS = (
    _davis("DAVIS 2016", "DAVIS/2016", 50, "every", ()),
    _davis(
        "DAVIS 2017 trainval",
        "DAVIS/2017/trainval",
        90,
        "every",
        ("ImageSets/2017/train.txt", "ImageSets/2017/val.txt", "ImageSets/2016/val.txt"),
    ),
    _davis(
        "DAVIS 2017 test-dev",
        "DAVIS/2017/test-dev",
        30,
        "first",
        ("ImageSets/2017/test-dev.txt",),
    ),
    VideoSet("YouTube-VOS 2019 train", "YouTube/train", 3471, rule="some", meta=True),
    VideoSet("YouTube-VOS 2019 train 480p", "YouTube/train_480p", 3471, rule="some", remedy=RESIZE),
    _youtube_valid("YouTube-VOS 2019 valid", "YouTube", 507),
    _youtube_valid("YouTube-VOS 2018 valid", "YouTube2018", 474),
    VideoSet("BL30K", "BL30K", 0, remedy="run download_bl30k.py again; it resumes"),
)


@dataclass(frozen=True)
class ImageSet:
    """A folder of the static images; `num_images` is 0 where the number is not fixed."""

    folder: str
    num_images: int


IMAGE_SETS = (
    ImageSet("static/fss", 10_000),
    ImageSet("static/DUTS-TR", 10_553),
    ImageSet("static/DUTS-TE", 5_019),
    ImageSet("static/ecssd", 1_000),
    ImageSet("static/BIG_small", 0),
    ImageSet("static/HRSOD_small", 0),
)


def examine_root(root: str | Path) -> Section:
    """Examines every known data set below a root, or the root itself as one data set.

    Args:
        root: folder that holds DAVIS/, YouTube/, YouTube2018/, static/ and BL30K/ (any of them),
            or a single set with JPEGImages/ and Annotations/.
    """
    root = Path(root)
    section = Section(f"data sets under {root}")
    if not root.is_dir():
        section.problems.append(f"{root}: no such folder: check --data")
        return section
    if (root / "JPEGImages").is_dir():
        _examine_videos(root, _single_set(root), section)
        return section
    found = [wanted for wanted in VIDEO_SETS if (root / wanted.folder).is_dir()]
    found_images = [images for images in IMAGE_SETS if (root / images.folder).is_dir()]
    for wanted in found:
        _examine_videos(root, wanted, section)
    for images in found_images:
        _examine_images(root, images, section)
    names = [wanted.name for wanted in VIDEO_SETS] + [images.folder for images in IMAGE_SETS]
    section.facts.update({name: "not found" for name in names if name not in section.facts})
    if not found and not found_images:
        section.problems.append(
            f"{root}: holds no known data set: give the folder that contains DAVIS/, YouTube/, "
            "YouTube2018/, static/ or BL30K/"
        )
    return section


def _single_set(root: Path) -> VideoSet:
    """Describes a root that is itself one set: DAVIS with resolution folders, else generic."""
    if (root / "JPEGImages" / "480p").is_dir():
        return _davis(f"DAVIS layout ({root.name})", "", 0, "first", ())
    return VideoSet(f"generic layout ({root.name})", "", 0, rule="some", remedy="add the files")


def _examine_videos(root: Path, wanted: VideoSet, section: Section) -> None:
    folder = root / wanted.folder
    frames_root, masks_root = folder / wanted.frames, folder / wanted.annotations
    missing = [place for place in (frames_root, masks_root) if not place.is_dir()]
    if missing:
        section.facts[wanted.name] = "incomplete"
        names = " and ".join(str(place) for place in missing)
        section.problems.append(f"{wanted.name}: no folder {names}: {wanted.remedy}")
        return
    sequences = _folders(frames_root)
    faults = _count_fault(wanted, len(sequences))
    faults += _list_faults(folder, wanted, sequences)
    num_frames, num_masks, frame_faults = _compare_frames(
        frames_root, masks_root, sequences[:MAX_EXAMINED], wanted.rule
    )
    faults += frame_faults
    extra = _names_text(set(_folders(masks_root)) - set(sequences))
    if extra:
        faults.append(f"annotations without frames for {extra}")
    if wanted.meta:
        faults += _meta_faults(folder / "meta.json")
    if wanted.frames_elsewhere:
        faults += _elsewhere_faults(root / wanted.frames_elsewhere, sequences)
    expected = f" of {wanted.num_sequences}" if wanted.num_sequences else ""
    examined = f" in the first {MAX_EXAMINED}" if len(sequences) > MAX_EXAMINED else ""
    section.facts[wanted.name] = (
        f"{len(sequences)}{expected} sequences, {num_frames} frames, {num_masks} annotations"
        f"{examined}"
    )
    section.problems.extend(f"{wanted.name}: {fault}: {wanted.remedy}" for fault in faults)


def _count_fault(wanted: VideoSet, count: int) -> list[str]:
    if count == 0:
        return ["no sequences"]
    if wanted.num_sequences and count != wanted.num_sequences:
        return [f"{count} sequences instead of {wanted.num_sequences}"]
    return []


def _list_faults(folder: Path, wanted: VideoSet, sequences: Sequence[str]) -> list[str]:
    faults = []
    for name in wanted.lists:
        path = folder / name
        if not path.is_file():
            faults.append(f"no list {path}")
            continue
        absent = _names_text(set(path.read_text(encoding="utf-8").split()) - set(sequences))
        if absent:
            faults.append(f"{name} names sequences that are not there: {absent}")
    return faults


def _compare_frames(
    frames_root: Path, masks_root: Path, sequences: Iterable[str], rule: str
) -> tuple[int, int, list[str]]:
    """Counts frames and annotations, and finds sequences where they do not go together."""
    num_frames = num_masks = 0
    empty, unmasked, orphaned, gaps = [], [], [], []
    for sequence in sequences:
        frames = _stems(frames_root / sequence)
        masks = _stems(masks_root / sequence)
        num_frames += len(frames)
        num_masks += len(masks)
        if not frames:
            empty.append(sequence)
            continue
        needed = {"every": frames, "first": {min(frames)}, "some": set()}[rule]
        if needed - masks or not masks:
            unmasked.append(f"{sequence}/{min(needed - masks or frames)}")
        if masks - frames:
            orphaned.append(f"{sequence}/{min(masks - frames)}")
        if rule != "some" and _first_gap(frames):
            gaps.append(f"{sequence}/{_first_gap(frames)}")
    texts = {
        "sequences without frames": empty,
        "annotations missing": unmasked,
        "annotations whose frame is missing": orphaned,
        "frames missing": gaps,
    }
    faults = [f"{text}: {_names_text(names)}" for text, names in texts.items() if names]
    return num_frames, num_masks, faults


def _first_gap(stems: set[str]) -> str:
    """First missing number of "00000", "00001", ...; "" when whole or not numbered like that."""
    if not all(stem.isdigit() and len(stem) == 5 for stem in stems):
        return ""
    last = max(int(stem) for stem in stems)
    return next((f"{i:05d}" for i in range(last) if f"{i:05d}" not in stems), "")


def _meta_faults(path: Path) -> list[str]:
    try:
        videos = json.loads(path.read_text(encoding="utf-8"))["videos"]
    except FileNotFoundError:
        return [f"no {path}"]
    except (OSError, ValueError, KeyError, TypeError):
        return [f"{path} is not a readable list of videos"]
    return [] if videos else [f"{path} lists no videos"]


def _elsewhere_faults(folder: Path, sequences: Sequence[str]) -> list[str]:
    if not folder.is_dir():
        return [f"no folder {folder} with all frames"]
    absent = _names_text(set(sequences) - set(_folders(folder)))
    return [f"{folder} lacks {absent}"] if absent else []


def _examine_images(root: Path, images: ImageSet, section: Section) -> None:
    folder = root / images.folder
    photos: set[str] = set()
    masks: set[str] = set()
    for place, _, names in os.walk(folder):
        for name in names:
            stem, suffix = os.path.splitext(os.path.join(place, name))  # noqa: PTH118, PTH122
            if suffix.lower() in IMAGE_SUFFIXES:
                (masks if suffix.lower() == ".png" else photos).add(stem)
    expected = f" of {images.num_images}" if images.num_images else ""
    section.facts[images.folder] = f"{len(photos)}{expected} images, {len(masks)} masks"
    faults = []
    if not photos or (images.num_images and len(photos) != images.num_images):
        faults.append(f"{len(photos)} images instead of {images.num_images or 'some'}")
    unpaired = {"images without mask": photos - masks, "masks without image": masks - photos}
    for text, stems in unpaired.items():
        if stems:
            faults.append(f"{text}: {_names_text(Path(stem).name for stem in stems)}")
    section.problems.extend(f"{images.folder}: {fault}: {DOWNLOAD}" for fault in faults)


def _folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir())


def _stems(folder: Path) -> set[str]:
    """Names without suffix of the images in a folder; empty when it does not exist."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        names = (os.path.splitext(entry.name) for entry in entries)  # noqa: PTH122
        return {stem for stem, suffix in names if suffix.lower() in IMAGE_SUFFIXES}


def _names_text(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - MAX_NAMES} more" if len(ordered) > MAX_NAMES else ""
    return ", ".join(ordered[:MAX_NAMES]) + more
