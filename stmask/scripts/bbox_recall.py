"""How well priors meet boxes: python scripts/bbox_recall.py ...; see --help."""

from stmask.tools.boxes import main_recall
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main_recall)
