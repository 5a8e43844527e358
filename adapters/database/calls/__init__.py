"""The calls of `Database`, a file for each noun; what each does in SQL is beside this folder."""
