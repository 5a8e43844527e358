"""GlucoBench's protocol on a file of readings: the split, the forecasters compared, the figures; nothing is served."""
