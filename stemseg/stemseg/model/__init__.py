"""Networks of STEm-Seg: torch and torchvision only, no I/O (spec section 6)."""
