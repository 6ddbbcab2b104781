"""`inference/output_utils/kitti_mots_postprocessing.py`: filters KITTI-MOTS results (spec 9.4)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stemseg.commands.common import say
from stemseg.outputs.postprocess import ClassFilter, Filters, filter_folder
from vidseg_common.config import ArgumentParser


def main(argv: Sequence[str] | None = None) -> int:
    """Filters a folder of results.

    Raises:
        DatasetError: there is no such folder, no such file in it, or a malformed line.
    """
    parser = ArgumentParser("kitti_mots_postprocessing.py", description=__doc__)
    parser.add_argument("results_dir", type=Path, help="folder of NNNN.txt files")
    parser.add_argument("--suffix", default="_nms", help="appended to the name of the folder")
    numbers = (
        ("min_car_area", "mca", int, Filters.car.min_area),
        ("min_person_area", "mpa", int, Filters.person.min_area),
        ("min_area_ratio_car", "marc", float, Filters.car.min_area_ratio),
        ("min_area_ratio_person", "marp", float, Filters.person.min_area_ratio),
        ("max_time_break_ratio_car", "mtbrc", float, Filters.car.max_time_break_ratio),
        ("max_time_break_ratio_person", "mtbrp", float, Filters.person.max_time_break_ratio),
        ("min_track_length_car", "mtlc", int, Filters.car.min_track_length),
        ("min_track_length_person", "mtlp", int, Filters.person.min_track_length),
    )
    for name, short, kind, default in numbers:
        text = name.replace("_", " ")
        parser.add_argument(f"--{name}", f"-{short}", type=kind, default=default, help=text)
    args = parser.parse_args(argv)
    car, person = (
        ClassFilter(
            getattr(args, f"min_{kind}_area"),
            getattr(args, f"min_area_ratio_{kind}"),
            getattr(args, f"max_time_break_ratio_{kind}"),
            getattr(args, f"min_track_length_{kind}"),
        )
        for kind in ("car", "person")
    )
    files = filter_folder(args.results_dir, args.suffix, Filters(car, person))
    say(f"{len(files)} files in {files[0].parent}")
    return 0
