"""Networks of STMask: torch and torchvision only, no I/O (spec section 3)."""
