"""Run and score a data set: python tools/test.py --config CONFIG --checkpoint FILE; see --help."""

from vatrack.commands.test import main
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main)
