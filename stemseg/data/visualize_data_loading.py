"""Look at training clips: python data/visualize_data_loading.py --cfg YAML -d NAME; see --help."""

from stemseg.commands.visualize_data import main
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main)
