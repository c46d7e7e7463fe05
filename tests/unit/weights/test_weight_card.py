from __future__ import annotations

from pathlib import Path

import pytest

from allograft.core.errors import ConfigError
from allograft.weights.card import WeightSource, card_named, cards, read_card

CARD = """
name: x
title: X
origin: file:/x
license: MIT
commercial: true
reference: {title: own}
encoder: resnet18
expects: {mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2]}
key_map:
  - ['module\\.(.+)', '\\1']
  - ['fc\\..+', null]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "card.yaml"
    path.write_text(text)
    return path


def test_a_card_is_read_and_survives_json(tmp_path: Path) -> None:
    card = read_card(write(tmp_path, CARD))
    assert card.keys().rename("module.a") == "a"
    assert card.keys().rename("fc.weight") is None
    assert WeightSource.model_validate(card.model_dump(mode="json")) == card


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("lisence: MIT", 'unknown field "lisence". Did you mean "license"'),
        ("sha256: abc", "64 lower-case hexadecimal"),
        ("key_map: [['(.*)', 'x']]", "empty string"),
        ("dims: 4", "dims"),
        ("fingerprint: {shape: [1, 3, 8, 8, 8], stages: {}}", "has not 4 axes"),
    ],
)
def test_a_wrong_card_names_file_and_field(tmp_path: Path, line: str, says: str) -> None:
    text = CARD if not line.startswith("key_map") else CARD[: CARD.index("key_map")]
    path = write(tmp_path, text + line + "\n")
    with pytest.raises(ConfigError) as caught:
        read_card(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="encoder: this field is required"):
        read_card(write(tmp_path, CARD.replace("encoder: resnet18", "")))


def test_packaged_cards_are_read_by_name() -> None:
    assert all(card.name == name for name, card in cards().items())
    with pytest.raises(ConfigError, match='no weights are named "no-such-card"'):
        card_named("no-such-card")
