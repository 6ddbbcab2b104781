"""`python -m vatrack`: the same as the console command `vatrack`."""

from vatrack.cli import main

main()
