"""Download the rendered videos of stage 1: python download_bl30k.py [--yes]."""

from stcn.tools.bl30k import main
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main)
