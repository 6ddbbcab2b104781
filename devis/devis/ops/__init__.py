"""Native operators, each with a form in plain PyTorch."""
