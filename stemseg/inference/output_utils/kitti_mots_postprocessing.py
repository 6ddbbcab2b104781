"""Filter KITTI-MOTS results: python .../kitti_mots_postprocessing.py RESULTS_DIR."""

from stemseg.commands.filter_mots import main
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main)
