"""A client for Realtime servers, and `talk`, which stands on it."""
