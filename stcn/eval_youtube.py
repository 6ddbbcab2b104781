"""Segment YouTube-VOS: python eval_youtube.py --output DIR [--yv_path ../YouTube2018]."""

from stcn.commands.eval_youtube import main
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main)
