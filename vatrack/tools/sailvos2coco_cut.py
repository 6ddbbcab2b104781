"""Splits videos where the scene changes: python tools/sailvos2coco_cut.py --help."""

from vatrack.commands.convert import main_cut
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main_cut)
