"""Writes the tables and curves of the documents from recorded numbers: `make tables`.

In a document the lines between `<!-- table:NAME -->` and `<!-- end -->` are replaced by the table
NAME made from the files of benchmarks/results and stcn/stcn/weights, or from the parsers of
the commands. What was not recorded reads "not measured". With --check nothing is written and the
status is 1 when a document is not up to date. --record-parity first runs the parity kit and keeps
its numbers.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import flag_tables
from curve import curve_svg
from devis_tables import TABLES as DEVIS_TABLES
from metric_tables import TABLES as METRIC_TABLES
from records import RESULTS, Records
from scale_tables import TABLES as SCALE_TABLES
from stemseg_tables import TABLES as STEMSEG_TABLES
from stmask_tables import TABLES as STMASK_TABLES
from table_text import NOT_MEASURED, parity_table, sentence, table
from vatrack_tables import TABLES as VATRACK_TABLES

from vidseg_common.config import ArgumentParser
from vidseg_common.errors import UserError, run_cli
from vidseg_common.files import write_json, write_text

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (
    *("README.md", "CONTRIBUTING.md", "stcn/README.md", "docs/stcn.md", "docs/data.md"),
    *("stemseg/README.md", "docs/stemseg.md", "docs/formats.md", "docs/metrics.md"),
    *("stmask/README.md", "docs/stmask.md", "devis/README.md", "docs/devis.md"),
    *("vatrack/README.md", "docs/vatrack.md", "docs/vatrack_data.md", "docs/scale.md"),
)
CURVE = "docs/images/demo-training.svg"
MARKED = re.compile(r"(<!-- table:([a-z0-9-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def machine(records: Records) -> str:
    """What the speed tables were measured on."""
    bench = records.bench
    if not bench:
        return sentence(f"Machine: {NOT_MEASURED}.")
    return sentence(
        f"Machine: {bench['machine']}; PyTorch {bench['torch']}; video: {bench.get('clip', '')}, "
        "854x480; weights: the published structure with the parity kit's deterministic values."
    )


def read(records: Records) -> str:
    """Memory read, plain and ours."""
    rows = [
        (
            row["objects"],
            row["memory_frames"],
            f"{row['plain_s']:.3f}",
            f"{row['ours_s']:.3f}",
            f"{row['ratio']:.1f} x",
            f"{row['relative_difference']:.0e}",
            f"{row['extra_mb']:.0f}",
        )
        for row in records.section("read")
    ]
    head = ("objects", "memory frames", "plain, s", "ours, s", "faster")
    return table((*head, "relative difference", "extra memory, MiB"), rows or [[None] * 7])


def stages(records: Records) -> str:
    """Time of each part of one frame."""
    rows = [
        (
            row["dtype"],
            row["objects"],
            f"{row['key_encoder_s']:.3f}",
            f"{row['decoder_s']:.3f}",
            f"{row['value_encoder_s']:.3f}",
        )
        for row in records.section("stages")
    ]
    head = ("numbers", "objects", "key encoder, s", "decoder, s")
    return table((*head, "value encoder, s (memory frames only)"), rows or [[None] * 5])


def video(records: Records) -> str:
    """Whole video, and the steady state with a long memory."""
    plain = {"video": "first 40 frames", "steady": "from 20 memory frames on"}
    rows = [
        (
            plain[name],
            row["engine"],
            f"{row['s_per_frame']:.3f}",
            f"{row['ratio']:.2f} x",
            f"{100 * row['equal']:.3f} %" if "equal" in row else "",
        )
        for name in plain
        for row in records.section(name)
    ]
    head = ("part of the video", "engine", "s/frame", "faster", "equal pixels")
    return table(head, rows or [[None] * 5])


def objects(records: Records) -> str:
    """Time against the number of objects."""
    rows = [
        (
            row["dtype"],
            row["objects"],
            f"{row['s_per_frame']:.3f}",
            f"{row['against_one']:.2f}",
        )
        for row in records.section("objects")
    ]
    return table(("numbers", "objects", "s/frame", "times one object"), rows or [[None] * 4])


def limit(records: Records) -> str:
    """The convolutions alone."""
    rows = [
        (row["dtype"], f"{row['convolutions_s_per_frame']:.3f}") for row in records.section("limit")
    ]
    return table(("numbers", "convolutions alone, s/frame"), rows or [[None] * 2])


def rss(records: Records) -> str:
    """Resident memory of a long video, and the peak of the benchmark."""
    rows = [
        (
            row["frames"],
            row["max_memory_frames"],
            f"{row['rss_start_mb']:.0f}",
            f"{row['rss_end_mb']:.0f}",
            f"{row['slope_mb_per_100_frames']:.2f}",
        )
        for row in records.section("rss")
    ]
    head = ("frames (240p)", "--max-memory-frames", "RSS at start, MB", "RSS at end, MB")
    return table((*head, "slope after warm-up, MB per 100 frames"), rows or [[None] * 5])


def gpu(records: Records) -> str:
    """Frames per second on a GPU."""
    rows = [(row["dtype"], f"{row['fps']:.1f}") for row in records.section("gpu")]
    if not rows:
        return sentence("Not measured: no GPU was at hand.")
    return table(("numbers", "frames per second, 480p, one object"), rows)


def jf(records: Records) -> str:
    """The J&F evaluation against the straightforward procedure."""
    rows = [
        (
            row["set"],
            row["form"],
            row["frames"],
            f"{row['wall_s']:.2f}",
            f"{row['ms_per_frame']:.2f}",
            f"{row['wall_ratio']:.1f} x",
            f"{row['max_error']:.0e}",
        )
        for row in records.jf.get("rows", [])
    ]
    head = ("set", "form", "frames", "s", "ms per frame", "faster", "largest difference")
    return table(head, rows or [[None] * 7])


def demo_davis(records: Records) -> str:
    """Scores of the shipped network by sequence."""
    davis = records.davis
    head = ("sequence", "J&F", "J", "F", "first mask copied, J&F")
    rows: list[Sequence[object]] = [
        (
            name,
            f"{row['J&F']:.3f}",
            f"{row['J']:.3f}",
            f"{row['F']:.3f}",
            f"{row['copy_first']['J&F']:.3f}",
        )
        for name, row in davis.get("sequences", {}).items()
    ]
    if not rows:
        return table(head, [[None] * 5])
    rows.append(
        ("**mean**", f"**{davis['mean']:.3f}**", "", "", f"**{davis['copy_first_mean']:.3f}**")
    )
    return table(head, rows)


def demo_summary(records: Records) -> str:
    """One sentence on the shipped network."""
    davis = records.davis
    if not davis:
        return sentence(f"Quality on DAVIS 2016 sequences: {NOT_MEASURED}.")
    return sentence(
        f"On {len(davis['sequences'])} DAVIS 2016 sequences it reaches a mean J&F of "
        f"{davis['mean']:.3f} (inner size {davis['size']}); copying the first mask to every frame "
        f"gives {davis['copy_first_mean']:.3f}."
    )


def demo_validation(records: Records) -> str:
    """The choice of checkpoint and inner size."""
    chosen = records.validation.get("chosen", {})
    rows = [
        (
            str(row["weights"]).removesuffix(".pth").rsplit("_", 1)[-1],
            row["size"],
            f"{row['J&F']:.4f}" + (" (chosen)" if row == chosen else ""),
        )
        for row in records.validation.get("all", [])
    ]
    return table(("iteration", "inner size", "J&F on synthetic videos"), rows or [[None] * 3])


def parity(records: Records) -> str:
    """Worst error of every parity case."""
    return parity_table(records.parity)


def tests(records: Records) -> str:
    """How `make test` ends."""
    if not records.tests:
        return sentence(f"Number and time of the tests: {NOT_MEASURED}.")
    return sentence(f"```\n{records.tests}\n```")


TABLES: dict[str, Callable[[Records], str]] = {
    "machine": machine,
    "read": read,
    "stages": stages,
    "video": video,
    "objects": objects,
    "limit": limit,
    "rss": rss,
    "gpu": gpu,
    "jf": jf,
    "demo-davis2016": demo_davis,
    "demo-summary": demo_summary,
    "demo-validation": demo_validation,
    "parity": parity,
    "tests": tests,
    **METRIC_TABLES,
    **STEMSEG_TABLES,
    **STMASK_TABLES,
    **DEVIS_TABLES,
    **VATRACK_TABLES,
    **SCALE_TABLES,
}


def filled(text: str, records: Records, source: str) -> str:
    """A document with its tables made anew.

    Raises:
        UserError: it asks for a table that there is not.
    """

    def make(found: re.Match[str]) -> str:
        name = found[2]
        if name in TABLES:
            body = TABLES[name](records)
        elif name.startswith(flag_tables.PREFIX):
            body = table(*flag_tables.flag_table(name))
        else:
            raise UserError(f"{source}: there is no table {name!r}")
        return f"{found[1]}\n{body}\n{found[3]}"

    return MARKED.sub(make, text)


def generate(root: Path) -> dict[Path, str]:
    """What every document and curve should hold."""
    records = Records(root)
    texts = {}
    for name in DOCUMENTS:
        path = root / name
        if path.is_file():
            texts[path] = filled(path.read_text(encoding="utf-8"), records, name)
    log = records.training_log()
    if log:
        texts[root / CURVE] = curve_svg(log)
    return texts


def record_parity(root: Path) -> None:
    """Runs every case of the repository's parity kits and keeps their numbers."""
    kits = {"stcn": "parity.json"} | {
        method: f"{method}_parity.json" for method in ("stemseg", "stmask", "devis", "vatrack")
    }
    for method, name in kits.items():
        module = importlib.import_module(f"{method}.parity")
        lines: list[str] = []
        module.run_kit(module.RECORDS, lines.append)
        rows = [line.split(maxsplit=4) for line in lines]
        cases = [
            dict(zip(("case", "error", "tolerance", "verdict", "output"), row, strict=True))
            for row in rows
            if len(row) == 5 and row[3] in ("PASS", "FAIL")
        ]
        write_json(root / RESULTS / name, {"cases": cases})


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    parser = ArgumentParser("update_tables.py", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    parser.add_argument("--record-parity", action="store_true", help="run the parity kits first")
    args = parser.parse_args(argv)
    if args.record_parity:
        record_parity(ROOT)
    stale = [
        (path, text)
        for path, text in generate(ROOT).items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in stale:
        if not args.check:
            write_text(path, text)
        sys.stdout.write(f"{'stale' if args.check else 'written'}: {path.relative_to(ROOT)}\n")
    return 1 if args.check and stale else 0


if __name__ == "__main__":
    run_cli(main)
