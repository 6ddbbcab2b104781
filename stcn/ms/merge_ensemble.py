"""Merge the options: python -m ms.merge_ensemble --list DIR DIR --output DIR."""

from stcn.commands.ms import main_merge
from vidseg_common.errors import run_cli

if __name__ == "__main__":
    run_cli(main_merge)
