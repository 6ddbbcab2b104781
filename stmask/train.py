"""Train: python train.py --config=STMask_plus_base_config --batch_size=8; see --help."""

from stmask.commands.train import main
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main)
