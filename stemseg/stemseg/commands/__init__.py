"""One module per command; the scripts beside the package and `stemseg ...` call their `main`."""
