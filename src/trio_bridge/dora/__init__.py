"""Dora: the runtime beneath, one dataflow instance as a backend, and what its messages mean."""
