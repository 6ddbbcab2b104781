"""DeVIS: Deformable DETR, the Deformable Mask-Head, and video instance segmentation of clips."""

__version__ = "0.1.0"
