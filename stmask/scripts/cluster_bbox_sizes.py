"""Groups of sizes of boxes: python scripts/cluster_bbox_sizes.py ...; see --help."""

from stmask.tools.boxes import main_cluster
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main_cluster)
