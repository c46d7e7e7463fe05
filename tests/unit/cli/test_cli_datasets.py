from __future__ import annotations

import pytest

from allograft.core.errors import ConfigError


def test_the_list_names_every_data_set_with_its_licence(run) -> None:
    rows = {row["name"]: row for row in run("datasets", "list", "--json")["datasets"]}
    assert {"skin_histology", "brain_tissue", "ct_organs", "lung_tumour", "nuclei_2d", "nuclei_3d"} <= rows.keys()
    assert rows["lung_tumour"]["commercial"] is False


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (["--set", "accept_license=true"], 'Did you mean "accept_licence"'),
        (["--set", "accept_licence"], "expected KEY=VALUE"),
        ([], "accept_licence: true"),
    ],
)
def test_settings_are_checked_before_anything_is_fetched(run, said: list[str], says: str) -> None:
    try:
        out = run("datasets", "get", "lung_tumour", *said, code=2)
    except ConfigError as error:
        out = str(error)
    assert says in out.replace("\n", " ")
