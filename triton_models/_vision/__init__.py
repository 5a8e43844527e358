"""What the models that look at images share when they train; not a model itself, and nothing here serves."""
