"""How fast the dispatcher is, beside the pattern that Flask's documentation shows."""
