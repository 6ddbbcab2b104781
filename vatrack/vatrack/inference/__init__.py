"""Frames in, tracks out: no knowledge of data sets."""

from vatrack.inference.predictor import Predictor
from vatrack.inference.results import FrameResult
from vatrack.inference.settings import InferenceSettings, TrackerSettings
from vatrack.inference.tracker import Tracker

__all__ = ["FrameResult", "InferenceSettings", "Predictor", "Tracker", "TrackerSettings"]
