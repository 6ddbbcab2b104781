"""One module per command; the scripts beside the package and `stcn ...` call their `main`."""
