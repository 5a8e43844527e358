"""Everything of one installation in a folder and back: what is copied, how it is checked, how it is put in place."""
