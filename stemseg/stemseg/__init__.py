"""STEm-Seg: video instance segmentation by clustering spatio-temporal pixel embeddings."""

__version__ = "0.1.0"
