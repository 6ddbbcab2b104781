"""Frames in, tracks out: no knowledge of data sets."""
