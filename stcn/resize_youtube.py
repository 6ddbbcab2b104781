"""Shrink a video data set to 480p: python resize_youtube.py IN OUT."""

from stcn.tools.resize import main_youtube
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main_youtube)
