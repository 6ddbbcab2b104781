"""Operators in forms that are fast on a CPU, in plain PyTorch."""
