"""Frames and annotations to tensors: videos, clips, training samples."""
