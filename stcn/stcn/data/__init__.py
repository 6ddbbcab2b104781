"""Training data of STCN: data sets, augmentations and loaders that give tensors."""
