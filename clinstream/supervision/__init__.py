"""Keeps processes alive and takes them down again; knows nothing of what they do."""
