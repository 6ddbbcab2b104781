"""Segment and score DAVIS 2017: python eval_davis.py --output DIR [--split testdev]."""

from stcn.commands.eval_davis import main_2017
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main_2017)
