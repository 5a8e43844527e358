"""Ground floor: events, identities, topics, model cards and errors; pure values that every other room may import."""
