"""Every tensor as a file: python scripts/unpack_statedict.py ...; see --help."""

from stmask.tools.unpack import main
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main)
