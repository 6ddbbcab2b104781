"""Files and pictures of results."""
