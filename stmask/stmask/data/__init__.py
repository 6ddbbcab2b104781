"""Training and evaluation samples from YouTube-VIS files."""
