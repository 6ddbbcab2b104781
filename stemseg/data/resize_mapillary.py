"""Shrink Mapillary Vistas: python data/resize_mapillary.py VISTAS DST; see --help."""

from stemseg.commands.resize_mapillary import main
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main)
