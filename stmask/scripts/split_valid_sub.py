"""The split of the training videos: python scripts/split_valid_sub.py ...; see --help."""

from stmask.tools.split_sub import main
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main)
