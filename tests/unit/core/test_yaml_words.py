"""Words that YAML 1.1 takes for truth values are words in our files."""

from __future__ import annotations

from pathlib import Path

import pytest

from allograft.core.config import read_yaml


def test_on_is_a_field_and_yes_and_no_are_classes(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("pretrain: {on: [other], off: y}\nclasses: [no, yes]\ntrue_class: trueish\n", encoding="utf-8")
    expected = {"pretrain": {"on": ["other"], "off": "y"}, "classes": ["no", "yes"], "true_class": "trueish"}
    assert read_yaml(path) == expected


@pytest.mark.parametrize(("text", "value"), [("true", True), ("False", False), ("TRUE", True)])
def test_true_and_false_are_truth_values(tmp_path: Path, text: str, value: bool) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(f"flip: {text}\n", encoding="utf-8")
    assert read_yaml(path) == {"flip": value}
