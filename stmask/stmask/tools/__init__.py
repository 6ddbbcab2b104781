"""Small programs around data sets, logs and weights. Source: spec section 12."""
