"""Multi-scale and flip testing, under the module names of the original."""
