"""Frames in, label maps out, streaming; no knowledge of data sets (spec sections 3 and 4)."""
