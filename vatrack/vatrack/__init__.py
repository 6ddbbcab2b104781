"""VATrack: amodal video instance segmentation by QDTrack, AmodalTrack and two VATracks."""

__version__ = "0.1.0"
