"""One running dataflow: how it comes up, what is said on it, and how it ends."""
