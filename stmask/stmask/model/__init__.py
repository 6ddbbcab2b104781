"""The network: backbone, pyramid, prototypes, calibrated head, temporal network."""
