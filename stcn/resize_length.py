"""Shrink the images of a folder to 384 pixels: python resize_length.py IN OUT."""

from stcn.tools.resize import main_length
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main_length)
