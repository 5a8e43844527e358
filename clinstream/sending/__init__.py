"""The sending side of `clinstream send`: real files through the real doors; the doors themselves are in `producers`."""
