"""Running a served model over labelled data: reading the data, reaching a server, computing the figures."""
