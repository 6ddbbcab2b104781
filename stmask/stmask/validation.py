"""Scores of a network while it is trained (spec 10.4)."""

from __future__ import annotations

from pathlib import Path

from stmask import scoring
from stmask.benchmark_data import EvalSet, check_classes, evaluation_set
from stmask.config import Config
from stmask.evaluate import Plan, evaluate
from stmask.inference.predictor import Predictor
from stmask.model.network import STMask
from stmask.timers import Timers
from vidseg_common.errors import UserError
from vidseg_common.files import write_text


class Validation:
    """Segments and scores a data set with ground truth.

    Args:
        cfg: its `valid_sub_dataset` is taken.
        keep_results: leave the submission beside the checkpoint.

    Raises:
        UserError: the data set is missing or unusable, or has no ground truth.
    """

    def __init__(self, cfg: Config, *, keep_results: bool = False) -> None:
        self.cfg, self.keep_results = cfg, keep_results
        self.chosen: EvalSet = evaluation_set(cfg, valid_sub=True)
        check_classes(self.chosen, cfg.num_classes)
        if not self.chosen.data.has_annotations:
            raise UserError(f"{self.chosen.file}: field annotations: missing, nothing to score")

    def run(self, network: STMask, checkpoint: Path) -> dict[str, float]:
        """Scores a network, which is left as it is.

        Args:
            network: in training.
            checkpoint: the table goes beside it, with the suffix .txt, the submission with .json.

        Returns:
            The numbers of the official summary.

        Raises:
            UserError: a frame cannot be read.
        """
        results = checkpoint.with_suffix(".json")
        predictor = Predictor(network, self.cfg)
        try:
            evaluate(Plan(self.chosen), predictor, Timers(predictor.device), results)
            found = scoring.score(self.chosen, results)
        finally:
            if not self.keep_results:
                results.unlink(missing_ok=True)
        write_text(checkpoint.with_suffix(".txt"), found.table())
        return {name: found.numbers[key] for key, name in scoring.SCALARS.items()}
