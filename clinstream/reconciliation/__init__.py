"""Every acknowledged event against what became of it: read from the log, the groups' offsets and the database."""
