"""`python -m stmask`: the same as the console command `stmask`."""

from stmask.cli import main

main()
