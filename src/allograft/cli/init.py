"""allograft init (placeholder while integrating)."""


def init() -> None:
    """Not wired yet."""
