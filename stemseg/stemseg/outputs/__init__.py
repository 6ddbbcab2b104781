"""Tracks to the result files of the three benchmarks (spec section 9)."""
