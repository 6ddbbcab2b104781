"""`python -m devis`: the same as the console command `devis`."""

from devis.cli import main

main()
