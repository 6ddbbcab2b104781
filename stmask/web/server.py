"""The viewer in a browser: python server.py, from this folder; see --help."""

from stmask.commands.viewer import main
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main)
