"""Entry point of `python -m vidseg_common.parity [KIT]`."""

from vidseg_common.errors import run_cli
from vidseg_common.parity.runner import main

if __name__ == "__main__":
    run_cli(main)
