"""Formats, metrics, video I/O and run support shared by the five methods."""

__version__ = "0.1.0"
