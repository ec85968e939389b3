"""`bench`: many sessions at real-time pace against a server, measured and checked."""
