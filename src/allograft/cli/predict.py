"""allograft predict (placeholder while integrating)."""


def predict() -> None:
    """Not wired yet."""
