"""Says whether a machine, its data sets and its checkpoints are fit for work.

`python -m vidseg_common.doctor [--data ROOT ...] [--weights FILE ...] [--json]`. The exit status
is 0 without problems and 1 with some; each problem is one line that says what to do.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from vidseg_common.arguments import ArgumentParser
from vidseg_common.doctor_report import Section
from vidseg_common.errors import run_cli


def examine(data_roots: Sequence[str] = (), weights: Sequence[str] = ()) -> list[Section]:
    """Examines this machine, then the data sets and checkpoints asked for.

    Args:
        data_roots: folders that hold data sets in the layout of spec stcn section 7.
        weights: checkpoint files.

    Returns:
        One section each for packages, devices, storage, operators, every root and every file.
    """
    # Imported here, so that --help answers at once.
    from vidseg_common import doctor_data, doctor_machine, doctor_weights

    sections = [
        doctor_machine.examine_packages(),
        doctor_machine.examine_devices(),
        doctor_machine.examine_storage(),
        doctor_machine.examine_operators(),
    ]
    sections.extend(doctor_data.examine_root(root) for root in data_roots)
    sections.extend(doctor_weights.examine_file(path) for path in weights)
    return sections


def format_text(sections: Sequence[Section]) -> str:
    """Renders the sections as aligned text, all problems together at the end."""
    lines: list[str] = []
    for section in sections:
        lines.append(section.title)
        width = max((len(name) for name in section.facts), default=0)
        lines.extend(f"  {name:<{width}}  {fact}" for name, fact in section.facts.items())
        lines.append("")
    problems = [problem for section in sections for problem in section.problems]
    lines.append(f"{len(problems)} problem(s)" if problems else "no problems found")
    lines.extend(f"  ! {problem}" for problem in problems)
    return "\n".join(lines) + "\n"


def format_json(sections: Sequence[Section]) -> str:
    """Renders the sections as one JSON object with the keys "sections" and "problems"."""
    report = {
        "sections": {section.title: section.facts for section in sections},
        "problems": [problem for section in sections for problem in section.problems],
    }
    return json.dumps(report, indent=1, ensure_ascii=False) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = ArgumentParser(prog="vidseg_common.doctor", description=__doc__)
    parser.add_argument(
        "--data",
        nargs="+",
        action="extend",
        default=[],
        metavar="ROOT",
        help="folders with data sets (DAVIS/, YouTube/, YouTube2018/, static/, BL30K/)",
    )
    parser.add_argument(
        "--weights",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="checkpoint files to examine; nothing in them is run",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)
    sections = examine(args.data, args.weights)
    sys.stdout.write(format_json(sections) if args.json else format_text(sections))
    return 1 if any(section.problems for section in sections) else 0


if __name__ == "__main__":
    run_cli(main)
