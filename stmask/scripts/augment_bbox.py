"""Boxes as augmentation changes them: python scripts/augment_bbox.py ...; see --help."""

from stmask.tools.box_search import main_augment
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main_augment)
