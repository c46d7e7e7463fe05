"""The parser of method docstrings: reads what is there and says what is not."""

from __future__ import annotations

import pytest

from allograft.core.errors import ConfigError
from allograft.core.headings import HEADINGS, first_line, parse, unmarked_defaults

GOOD = """DANN: adversarial training.

Idea      A classifier tries to tell source from target features; the encoder
          learns features on which it cannot.
Paper     Ganin et al., JMLR 2016.
Formula   min_f max_d  L_task - λ L_domain
Streams   source: images and targets.
Defaults  gamma = 10 (paper).  hidden = 1024 (ours).
Differs   1. One thing.

          2. Another.
Checked   tests/reference/test_dann.py: by hand.
"""


def test_every_heading_with_its_continuation_lines() -> None:
    sections = parse(GOOD)
    assert tuple(sections) == HEADINGS
    assert sections["Idea"].endswith("features; the encoder learns features on which it cannot.")
    assert sections["Differs"] == "1. One thing. 2. Another."
    assert first_line(GOOD) == "DANN: adversarial training"


@pytest.mark.parametrize("name", HEADINGS)
def test_a_missing_heading_is_named(name: str) -> None:
    broken = GOOD.replace(f"\n{name}", f"\nOther{name}")
    with pytest.raises(ConfigError, match=f"my.module: .*no text under {name}"):
        parse(broken, where="my.module")


def test_an_empty_heading_counts_as_missing() -> None:
    with pytest.raises(ConfigError, match="Paper"):
        parse(GOOD.replace("Ganin et al., JMLR 2016.", ""))


def test_a_doubled_heading_is_refused() -> None:
    with pytest.raises(ConfigError, match="twice"):
        parse(GOOD + "Idea      again.\n")


def test_a_wrong_order_is_refused() -> None:
    lines = GOOD.splitlines()
    paper = next(i for i, line in enumerate(lines) if line.startswith("Paper"))
    lines.append(lines.pop(paper))
    with pytest.raises(ConfigError, match="order"):
        parse("\n".join(lines))


def test_no_docstring_is_refused() -> None:
    with pytest.raises(ConfigError, match="Idea"):
        parse(None)


def test_words_inside_the_text_are_no_headings() -> None:
    sections = parse(GOOD.replace("learns features on", "Paper  features on"))
    assert "Paper  features" in sections["Idea"]


def test_unmarked_defaults_are_found() -> None:
    assert unmarked_defaults("gamma = 10 (paper).  hidden = 1024 (ours).") == []
    assert unmarked_defaults("gamma = 10.  hidden = 1024 (ours).") == ["gamma"]
    assert unmarked_defaults("none.") == []
