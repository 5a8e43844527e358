"""One file a command; what they do lives in the rooms below."""
