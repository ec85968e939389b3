"""What carries dataflows: a private Dora or one that runs already, and its processes."""
