"""Train a stage: python train.py --id NAME --stage S [--load_network W.pth]; see --help."""

from stcn.commands.train import main
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main)
