"""Boxes of a data set as an array: python scripts/save_bboxes.py ...; see --help."""

from stmask.tools.boxes import main_save
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main_save)
