"""One option of multi-scale testing: python -m ms.eval_youtube --output DIR [--flip]."""

from stcn.commands.ms import main_eval
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main_eval)
