"""Which models can a change affect, and why? Answered from git objects alone, on a bare Python."""
