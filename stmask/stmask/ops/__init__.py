"""Modulated deformable convolution and correlation."""
