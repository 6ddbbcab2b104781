"""Official metrics, computed here."""
