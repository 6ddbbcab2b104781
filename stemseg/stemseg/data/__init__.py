"""Training data of STEm-Seg: data sets, augmentations and loaders that give tensors (spec 7)."""
