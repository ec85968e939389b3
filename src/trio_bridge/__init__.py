"""A voice server on Trio."""
