"""Makes the ground truth of the video-level AP: python tools/per_video.py --help."""

from vatrack.commands.convert import main_per_video
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main_per_video)
