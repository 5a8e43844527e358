"""The real servers, run on one machine without Docker: what each needs to start, not how it is kept alive."""
