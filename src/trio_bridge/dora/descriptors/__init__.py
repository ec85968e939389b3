"""A dataflow's YAML: read, checked, filled with values and completed for Dora."""
