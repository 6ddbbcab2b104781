"""Texts and files of the tracking metrics in the form of the official tools.

Source: spec common section 6.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from vidseg_common.metrics.hota_scores import ALPHAS

__all__ = [
    "detailed_text",
    "family_table",
    "json_numbers",
    "mean_over_classes",
    "mots_table",
    "summary_text",
]

Row = Mapping[str, float]

_TITLES = {"car": "Cars", "pedestrian": "Pedestrians"}
_PERCENT_COLUMNS = {
    "sMOTSA": "sMOTSA",
    "MOTSA": "MOTSA",
    "MOTSP": "MOTSP",
    "MOTSAL": "MOTSAL",
    "MODSA": "MODSA",
    "MODSP": "MODSP",
    "Recall": "recall",
    "Prec": "precision",
    "F1": "F1",
    "FAR": "FAR",
    "MT": "MT",
    "PT": "PT",
    "ML": "ML",
}
_COUNT_COLUMNS = {
    "TP": "tp",
    "FP": "fp",
    "FN": "fn",
    "IDS": "id_switches",
    "Frag": "fragments",
    "GT Obj": "n_gt",
    "GT Trk": "n_gt_trajectories",
    "TR Obj": "n_tr",
    "TR Trk": "n_tr_trajectories",
    "Ig TR Tck": "n_itr",
}
_NAME_WIDTH = 4
_NARROWEST = 6

# Columns of each family in a summary file, and those of all that are counts, not fractions.
_SUMMARY = {
    "HOTA": "HOTA DetA AssA DetRe DetPr AssRe AssPr LocA OWTA HOTA(0) LocA(0) HOTALocA(0)",
    "CLEAR": "MOTA MOTP MODA CLR_Re CLR_Pr MTR PTR MLR "
    "CLR_TP CLR_FN CLR_FP IDSW MT PT ML Frag sMOTA",
    "Identity": "IDF1 IDR IDP IDTP IDFN IDFP",
    "Count": "Dets GT_Dets IDs GT_IDs",
}
_COUNTS = {
    *("CLR_TP", "CLR_FN", "CLR_FP", "IDSW", "MT", "PT", "ML", "Frag"),
    *("IDTP", "IDFN", "IDFP", "Dets", "GT_Dets", "IDs", "GT_IDs"),
}

Families = Mapping[str, Mapping[str, "float | np.ndarray"]]


def json_numbers(values: Mapping[str, float]) -> dict[str, float | str | None]:
    """Numbers for JSON, which knows neither NaN (null) nor infinities ("inf", "-inf")."""
    return {key: _json_number(value) for key, value in values.items()}


def _json_number(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return ("inf" if value > 0 else "-inf") if math.isinf(value) else value


def mean_over_classes(
    key: str, rows: Mapping[str, Row], present: Sequence[str]
) -> dict[str, float]:
    """The mean of one number over classes, NaN without any.

    Args:
        key: the number.
        rows: all numbers of every class.
        present: classes that have ground truth; the others say nothing.
    """
    return {key: sum(rows[name][key] for name in present) / len(present) if present else math.nan}


def mots_table(class_name: str, rows: Mapping[str, Row]) -> str:
    """One table of the official MOTS tool.

    Args:
        class_name: name of the class.
        rows: numbers of "all" and of every sequence.
    """
    width = max(_NAME_WIDTH, *(len(name) for name in rows))
    columns = [*_PERCENT_COLUMNS, *_COUNT_COLUMNS]
    lines = [f"Evaluate class: {_TITLES.get(class_name, class_name)}"]
    lines.append(_join("", width, columns, columns))
    for name, row in rows.items():
        cells = [f"{100 * row[key]:.1f}" for key in _PERCENT_COLUMNS.values()]
        cells += [str(row[key]) for key in _COUNT_COLUMNS.values()]
        lines.append(_join(name, width, cells, columns))
    return "\n".join(lines) + "\n"


def _join(name: str, width: int, cells: Sequence[str], columns: Sequence[str]) -> str:
    widths = [max(_NARROWEST, len(column) + 2) for column in columns]
    return name.rjust(width) + "".join(c.rjust(w) for c, w in zip(cells, widths, strict=True))


def _average(value: float | np.ndarray) -> float:
    return float(np.mean(value))


def _summary_cells(families: Families) -> dict[str, str]:
    """Columns of the summary: percent with five significant digits, counts as they are."""
    cells: dict[str, str] = {}
    for family, columns in _SUMMARY.items():
        for column in columns.split() if family in families else ():
            value = _average(families[family][column])
            cells[column] = f"{value:.0f}" if column in _COUNTS else f"{100 * value:1.5g}"
    return cells


def summary_text(families: Families) -> str:
    """Text of CLASS_summary.txt: two lines, the names and the numbers over all sequences.

    Args:
        families: numbers of "HOTA", "CLEAR", "Identity" and "Count", those that are wanted;
            arrays hold one value per threshold.
    """
    cells = _summary_cells(families)
    return f"{' '.join(cells)}\n{' '.join(cells.values())}\n"


def detailed_text(rows: Mapping[str, Families]) -> str:
    """Text of CLASS_detailed.csv: every number of every sequence at full precision.

    A value per threshold becomes the columns NAME___5 ... NAME___95 and their mean NAME___AUC.

    Args:
        rows: numbers of every sequence by name, then those of all of them.
    """
    lines: list[str] = []
    for name, families in rows.items():
        row = _flatten(families)
        if not lines:
            lines.append(",".join(["seq", *row]))
        lines.append(",".join([name, *(repr(value) for value in row.values())]))
    return "\n".join(lines) + "\n"


def _flatten(families: Families) -> dict[str, float]:
    flat: dict[str, float] = {}
    for values in families.values():
        for key, value in values.items():
            if isinstance(value, np.ndarray):
                flat |= {
                    f"{key}___{round(100 * a)}": float(v)
                    for a, v in zip(ALPHAS, value, strict=True)
                }
                flat[f"{key}___AUC"] = _average(value)
            elif key != "Frames":
                flat[key] = value
    return flat


def family_table(title: str, family: str, rows: Mapping[str, Families]) -> str:
    """Table of one family as the tracking tool prints it.

    Args:
        title: what stands after the name of the family, such as tracker and class.
        family: "HOTA", "CLEAR", "Identity" or "Count".
        rows: numbers of every sequence by name, then those of all of them.
    """
    columns = _SUMMARY[family].split()
    lines = [f"{family + ': ' + title:<35}" + "".join(f"{column:<12}" for column in columns)]
    for name, families in rows.items():
        cells = _summary_cells({family: families[family]})
        lines.append(f"{name:<35}" + "".join(f"{cells[column]:<12}" for column in columns))
    return "\n".join(line.rstrip() for line in lines) + "\n"
