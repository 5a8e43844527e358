"""`icu_mortality`: 62 features of an intensive-care stay to the risk of dying in hospital; figures in MODEL.md."""
