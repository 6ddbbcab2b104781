"""The built-in sample and its makers."""
