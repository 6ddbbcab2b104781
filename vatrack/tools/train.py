"""Train: python tools/train.py --config CONFIG --work-dir DIR; see --help."""

from vatrack.commands.train import main
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main)
