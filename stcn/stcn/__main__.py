"""`python -m stcn`: the same as the console command `stcn`."""

from stcn.cli import main

main()
