"""One thing's whole way: which events it is, where each of them lies on the log, what was stored, where it waits."""
