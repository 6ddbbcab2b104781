"""`python -m stemseg`: the same as the console command `stemseg`."""

from stemseg.cli import main

main()
