"""Draw training samples: python visualize_dataset.py --config-file F [KEY VALUE ...]."""

from devis.commands.visualize_dataset import main
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main)
