"""Which branches does retraining write? One to measure on, and one that a pull request is made of. Values only."""

WORKING = "ct-work"
"""`ct-work/<model>`: the default branch with newer data, measured; it lives for one run."""
PROPOSED = "ct"
"""`ct/<model>`: a version that passed, with its lock; it lives as long as its pull request."""


def working(model: str) -> str:
    """Where a model is measured."""
    return f"{WORKING}/{model}"


def proposed(model: str) -> str:
    """What a model's pull request is made of."""
    return f"{PROPOSED}/{model}"
