"""How does a release get into an environment, and back? Decided from values; each target reaches its own outside."""
