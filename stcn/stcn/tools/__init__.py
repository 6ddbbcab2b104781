"""Commands that fetch and prepare weights and data (method specification section 7)."""
