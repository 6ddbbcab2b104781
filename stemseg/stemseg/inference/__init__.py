"""Frames in, tracks out, streaming; no knowledge of data sets (spec section 8)."""
