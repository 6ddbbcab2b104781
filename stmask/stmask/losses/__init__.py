"""Losses of the training, section 10.2 of the specification."""
