"""Networks of STCN: torch and torchvision only, no I/O (spec sections 2 and 3)."""
