"""What the two otoscope models share: view, collection, training and figures; no card and no weights."""
