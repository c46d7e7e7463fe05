"""docs/make_cards.py writes every packaged card, with licence, commercial use and how the file is got."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from allograft.weights.card import cards

ROOT = Path(__file__).parents[2]


def test_the_page_of_cards_names_each_card_with_its_licence_and_the_way_to_its_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = importlib.util.spec_from_file_location("make_cards", ROOT / "docs" / "make_cards.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(sys, "argv", ["make_cards.py", str(tmp_path / "weights.md")])
    script.main()
    rows = {}
    for line in (tmp_path / "weights.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            rows[cells[0].strip("`| ")] = cells
    assert set(rows) == set(cards())
    for name, card in cards().items():
        assert card.license in rows[name]
        assert ("not allowed" in rows[name]) != card.commercial
        assert rows[name][-1].strip("| ").startswith("by hand: " if card.by_hand else "fetched")


def test_the_page_is_made_and_shown_with_the_rest_of_the_docs() -> None:
    assert "docs/make_cards.py" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "reference/weights.md" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
