"""Train a stage: python stemseg/training/main.py --model_dir D --cfg davis_1.yaml; see --help."""

from stemseg.commands.train import main
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main)
