"""Makes amodal, visible or joint annotations: python tools/json_script.py --help."""

from vatrack.commands.convert import main_kind
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main_kind)
