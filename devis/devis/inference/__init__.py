"""From clips of frames to tracked instances."""
