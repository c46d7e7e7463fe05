from __future__ import annotations

import pytest
from pydantic import ValidationError

from allograft.core.errors import PlanError
from allograft.weights.keymap import KeyMap

LINES = ((r"module\.encoder_q\.fc\..+", None), (r"module\.encoder_q\.(.+)", r"\1"), (r"module\..+", None))


def test_first_match_wins_and_unmatched_names_stay() -> None:
    keys = KeyMap(lines=LINES)
    assert keys.rename("module.encoder_q.conv1.weight") == "conv1.weight"
    assert keys.rename("module.encoder_q.fc.weight") is None
    assert keys.rename("module.encoder_k.conv1.weight") is None
    assert keys.rename("epoch") == "epoch"


def test_patterns_match_whole_names_only() -> None:
    keys = KeyMap(lines=((r"conv1", "stem"),))
    assert keys.rename("conv1.weight") == "conv1.weight"
    assert keys.rename("layer.conv1") == "layer.conv1"
    assert keys.rename("conv1") == "stem"


@pytest.mark.parametrize("pattern", ["(.*)", "", "(module\\.)?", "a*|b"])
def test_a_pattern_that_matches_the_empty_string_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError, match="empty string"):
        KeyMap(lines=((pattern, r"x"),))


def test_broken_patterns_and_templates_are_refused() -> None:
    with pytest.raises(ValidationError, match="not a regular expression"):
        KeyMap(lines=(("(a", "b"),))
    with pytest.raises(ValidationError, match="uses group 2"):
        KeyMap(lines=((r"a\.(.+)", r"\2"),))
    with pytest.raises(ValidationError, match="uses group rest"):
        KeyMap(lines=((r"a\.(.+)", r"\g<rest>"),))
    assert KeyMap(lines=((r"a\.(?P<rest>.+)", r"\g<rest>"),)).rename("a.b") == "b"


def test_two_names_for_one_tensor_is_an_error_that_names_both() -> None:
    keys = KeyMap(lines=((r"(?:q|k)\.(.+)", r"\1"),))
    with pytest.raises(PlanError, match=r'"q\.w" and "k\.w" both become "w"'):
        keys.apply(["q.w", "k.w"], where="card")


def test_dropped_names_are_kept_apart() -> None:
    mapped = KeyMap(lines=LINES).apply(["module.encoder_q.w", "module.queue"], where="card")
    assert mapped.names == {"w": "module.encoder_q.w"}
    assert mapped.dropped == ("module.queue",)
