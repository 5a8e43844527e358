"""One file a command; each turns words of the user into calls and answers into words, and decides nothing else."""
