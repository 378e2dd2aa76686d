"""Is this repository set up so that its loops can run? The machine, git and GitHub give facts; rules judge them."""
