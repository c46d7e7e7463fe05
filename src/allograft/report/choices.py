"""Choices: a page with the images that were chosen for labelling; thumbnails and scores, no names."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from allograft.core.atomic import write_text
from allograft.report.write import environment

__all__ = ["write_choices"]


def write_choices(path: Path, picks: Sequence[tuple[float, bytes]], *, said: Sequence[str], score_is: str) -> Path:
    """Write the page as one file that asks for nothing from anywhere.

    Args:
        path: the HTML file.
        picks: score and PNG of each image, the most wanted first.
        said: sentences above the pictures.
        score_is: what the scores are.
    """
    shown = [
        (rank, score, Markup("data:image/png;base64,") + base64.b64encode(picture).decode())
        for rank, (score, picture) in enumerate(picks, start=1)
    ]
    page = environment().get_template("choices.html.j2").render(picks=shown, said=said, score_is=score_is)
    write_text(path, page if page.endswith("\n") else page + "\n")
    return path
