"""Segment any folder of videos: python eval_generic.py --data_path DIR --output DIR."""

from stcn.commands.eval_generic import main
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main)
