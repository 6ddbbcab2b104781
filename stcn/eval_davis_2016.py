"""Segment and score DAVIS 2016: python eval_davis_2016.py --output DIR."""

from stcn.commands.eval_davis import main_2016
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main_2016)
