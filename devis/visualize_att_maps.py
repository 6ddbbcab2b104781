"""Draw where the decoder looks: python visualize_att_maps.py --config-file F; see --help."""

from devis.commands.visualize_att_maps import main
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main)
