"""Train or evaluate: python main.py --config-file F [--eval-only] [KEY VALUE ...]; see --help."""

from devis.commands.main import main
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main)
