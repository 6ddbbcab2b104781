"""Recorded numbers behind the tables of the documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = "benchmarks/results"
WEIGHTS = "stcn/stcn/weights"

Row = dict[str, Any]


class Records:
    """Recorded numbers; a missing file or section is empty."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bench = self._read(f"{RESULTS}/stcn.json")
        self.stemseg = self._read(f"{RESULTS}/stemseg.json")
        self.stemseg_parity = self._read(f"{RESULTS}/stemseg_parity.json")
        self.overfit = self._read(f"{RESULTS}/stemseg_overfit.json")
        self.stmask = self._read(f"{RESULTS}/stmask.json")
        self.stmask_parity = self._read(f"{RESULTS}/stmask_parity.json")
        self.stmask_overfit = self._read(f"{RESULTS}/stmask_overfit.json")
        self.devis = self._read(f"{RESULTS}/devis.json")
        self.devis_parity = self._read(f"{RESULTS}/devis_parity.json")
        self.devis_overfit = self._read(f"{RESULTS}/devis_overfit.json")
        self.vatrack = self._read(f"{RESULTS}/vatrack.json")
        self.vatrack_parity = self._read(f"{RESULTS}/vatrack_parity.json")
        self.vatrack_overfit = self._read(f"{RESULTS}/vatrack_overfit.json")
        self.scale = self._read(f"{RESULTS}/scale.json")
        self.jf = self._read(f"{RESULTS}/jf.json")
        self.video_ap = self._read(f"{RESULTS}/video_ap.json")
        self.mots = self._read(f"{RESULTS}/mots.json")
        self.davis = self._read(f"{RESULTS}/demo_davis2016.json")
        self.parity = self._read(f"{RESULTS}/parity.json")
        self.validation = self._read(f"{WEIGHTS}/validation.json")
        last_line = root / RESULTS / "tests.txt"
        self.tests = last_line.read_text(encoding="utf-8").strip() if last_line.is_file() else ""

    def _read(self, name: str) -> dict[str, Any]:
        path = self.root / name
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def section(self, name: str) -> list[Row]:
        """Rows of a section of the benchmark."""
        return self.bench.get(name) or []

    def training_log(self) -> list[Row]:
        """Reported averages of the training of the shipped weights, by iteration."""
        path = self.root / WEIGHTS / "training_log.jsonl"
        if not path.is_file():
            return []
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [
            {"step": line["step"], **line["values"]} for line in lines if line["kind"] == "scalars"
        ]
