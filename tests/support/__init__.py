"""What end-to-end tests and benchmarks share: a server to talk to, and who talks to it."""
