"""Download published weights: python download_model.py [--name s012] [--from-file FILE]."""

from stcn.tools.weights import main
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main)
