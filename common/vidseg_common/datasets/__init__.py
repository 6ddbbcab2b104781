"""Data-set layouts, read into typed records."""
