"""allograft evaluate (placeholder while integrating)."""


def evaluate() -> None:
    """Not wired yet."""
