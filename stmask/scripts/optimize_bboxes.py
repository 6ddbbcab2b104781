"""Scales of priors that meet boxes better: python scripts/optimize_bboxes.py ...; see --help."""

from stmask.tools.box_search import main_optimize
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main_optimize)
