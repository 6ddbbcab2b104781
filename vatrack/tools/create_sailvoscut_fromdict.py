"""Makes the frames of SAIL-VOS-cut: python tools/create_sailvoscut_fromdict.py --help."""

from vatrack.commands.convert import main_frames
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main_frames)
