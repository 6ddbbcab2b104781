"""Losses of the training and the matching before them (spec section 6)."""
