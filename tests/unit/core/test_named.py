"""Named fields: read and written by the catalog, None where allowed, wrong names refused in their place."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import ValidationError

from allograft import catalog
from allograft.contracts import Objective, Start
from allograft.core import named
from allograft.core.config import Config
from allograft.core.named import Named, read_by
from allograft.objectives.supervised import Supervised
from allograft.starts.full import Full
from allograft.starts.partial import Partial


class Holds(Config):
    """A setting that holds methods."""

    start: Annotated[Start, Named("start")] = Full()
    objective: Annotated[Objective | None, Named("objective")] = None


def test_a_name_a_name_with_settings_and_the_method_itself_are_read() -> None:
    assert Holds.model_validate({"start": "full"}).start == Full()
    assert Holds.model_validate({"start": {"partial": {"until": "stage2"}}}).start == Partial(until="stage2")
    assert Holds(objective=Supervised(label_smoothing=0.1)).objective == Supervised(label_smoothing=0.1)
    assert Holds().objective is None


def test_what_is_written_is_read_again() -> None:
    one = Holds(start=Partial(until="stage1"), objective=Supervised())
    assert one.model_dump(mode="json")["start"] == {"partial": one.start.model_dump(mode="json")}
    assert Holds.model_validate_json(one.model_dump_json()) == one
    assert Holds.model_validate_json(Holds().model_dump_json()) == Holds()


def test_wrong_names_and_a_missing_method_are_refused() -> None:
    with pytest.raises(ValidationError, match='no start "fulll"'):
        Holds.model_validate({"start": "fulll"})
    with pytest.raises(ValidationError, match="a start is a name"):
        Holds.model_validate({"start": None})


def test_the_schema_completes_names() -> None:
    fields = Holds.model_json_schema()["properties"]
    assert fields["start"]["anyOf"][0]["enum"] == sorted(catalog.STARTS)


def test_without_the_catalog_names_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named, "_CATALOG", [])
    with pytest.raises(ValidationError, match="import"):
        Holds.model_validate({"start": "full"})
    read_by(catalog)
    assert Holds.model_validate({"start": "full"}).start == Full()
