"""Curves of the losses of a training: python scripts/plot_loss.py ...; see --help."""

from stmask.tools.plot_loss import main
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main)
