"""Fast tests mirror the modules; `e2e/` holds conversations with the real thing."""
