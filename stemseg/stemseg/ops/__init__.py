"""Operators of inference that PyTorch lacks, in plain PyTorch, each equal to its direct form."""
