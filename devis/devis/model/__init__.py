"""Networks of the three families: `build` makes one from its settings."""
