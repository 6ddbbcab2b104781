"""From frames to tracked instances, one frame after the other."""
