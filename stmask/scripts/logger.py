"""Any field of a training's log: python scripts/logger.py LOG TYPE X Y; see --help."""

from stmask.tools.logger import main
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main)
