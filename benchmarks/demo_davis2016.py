"""Quality of the shipped small network on DAVIS 2016 sequences, against copying the first mask.

`make eval-stcn-demo DAVIS=folder`. Every sequence found in the folder is scored with the official
metric; nothing is chosen by these numbers.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from stcn.commands import eval_davis
from stcn.weights import find_weights
from vidseg_common.config import ArgumentParser
from vidseg_common.datasets.davis import davis2016
from vidseg_common.errors import run_cli
from vidseg_common.files import write_json
from vidseg_common.masks import read_indices, write_binary_mask
from vidseg_common.metrics.davis_jf import JFResult, evaluate_davis
from vidseg_common.video import list_images

RESULTS = Path(__file__).parent / "results" / "demo_davis2016.json"


def copy_first_masks(annotations: Path, names: list[str], output: Path) -> None:
    """The baseline: the given mask again in every frame."""
    for name in names:
        paths = list_images(annotations / name)
        first = read_indices(paths[0]) > 0
        for path in paths:
            write_binary_mask(output / name / path.name, first)


def scores_of(result: JFResult) -> dict[str, dict[str, float]]:
    """J, F and J&F by sequence."""
    return {
        name: {"J": row["J-Mean"], "F": row["F-Mean"], "J&F": row["J&F-Mean"]}
        for name, row in result.sequence_scores.items()
    }


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    parser = ArgumentParser("demo_davis2016.py", description=__doc__)
    parser.add_argument("--davis", type=Path, required=True, help="DAVIS 2016 folder")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--amp", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--masks", type=Path, help="keep the masks in this folder")
    args = parser.parse_args(argv)
    weights = find_weights(args.model)
    annotations = args.davis / "Annotations" / "480p"
    names = sorted(path.name for path in annotations.iterdir() if path.is_dir())
    davis2016(args.davis, names=names)
    with tempfile.TemporaryDirectory() as scratch:
        masks = args.masks or Path(scratch) / "masks"
        words = ["--davis_path", args.davis, "--output", masks, "--model", weights.path]
        words += ["--size", weights.size or 0, "--videos", *names, "--no-metric"]
        eval_davis.main_2016([str(word) for word in [*words, *(["--amp"] if args.amp else [])]])
        ours = evaluate_davis(annotations, masks, names, binary=True, workers=2)
        copy_first_masks(annotations, names, Path(scratch) / "copy")
        copied = evaluate_davis(annotations, Path(scratch) / "copy", names, binary=True, workers=2)
    baseline = scores_of(copied)
    sequences = {n: {**row, "copy_first": baseline[n]} for n, row in scores_of(ours).items()}
    for name, row in sequences.items():
        print(f"{name:20s} J&F {row['J&F']:.3f}  copied first mask {row['copy_first']['J&F']:.3f}")
    print(f"{'mean':20s} J&F {ours.global_mean:.3f}  copied first mask {copied.global_mean:.3f}")
    write_json(
        args.out,
        {
            "weights": weights.title,
            "sha256": weights.sha256,
            "size": weights.size,
            "amp": args.amp,
            "sequences": sequences,
            "mean": ours.global_mean,
            "copy_first_mean": copied.global_mean,
        },
    )
    return 0


if __name__ == "__main__":
    run_cli(main)
