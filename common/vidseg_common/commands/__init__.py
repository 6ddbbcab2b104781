"""The commands of `vidseg`, one module each."""
