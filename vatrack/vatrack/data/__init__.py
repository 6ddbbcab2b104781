"""Data sets, key and reference pairs, pipelines."""
