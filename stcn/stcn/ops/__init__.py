"""Operators with more than one implementation; torch only."""
