"""allograft audit (placeholder while integrating)."""


def audit() -> None:
    """Not wired yet."""
