"""Numbers videos and instances of raw annotations: python tools/sailvos2coco.py --help."""

from vatrack.commands.convert import main_number
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main_number)
