"""KITTI-MOTS and MOTSChallenge as annotation sets. Source: spec common section 1.5."""

from __future__ import annotations

from vidseg_common.datasets.mots_files import MotsObject, read_seqmap, read_sequence

__all__ = ["MotsObject", "read_seqmap", "read_sequence"]
