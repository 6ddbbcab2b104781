"""Segment and score: python eval.py --trained_model=... --mask_det_file=...; see --help."""

from stmask.commands.eval import main
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main)
