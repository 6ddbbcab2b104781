"""Results of a data set: python stemseg/inference/main.py CKPT -o DIR --dataset davis."""

from stemseg.commands.eval import main
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main)
