"""Download training and evaluation data: python download_datasets.py [--yes]."""

from stcn.tools.datasets import main
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main)
