import pytest

from allograft.core.config import Config, canonical_json, read_yaml
from allograft.core.errors import ConfigError, did_you_mean


class Inner(Config):
    rate: float = 1.0


class Outer(Config):
    name: str
    inner: Inner = Inner()


def test_unknown_field_names_file_field_and_nearest():
    with pytest.raises(ConfigError, match=r'study.yaml, nam: unknown field "nam". Did you mean "name"\?'):
        Outer.from_data({"nam": "x"}, where="study.yaml")


def test_missing_and_wrong_kind_are_both_said():
    with pytest.raises(ConfigError) as error:
        Outer.from_data({"inner": {"rate": "fast"}}, where="f.yaml")
    assert "f.yaml, name: this field is required" in str(error.value)
    assert "f.yaml, inner.rate" in str(error.value)
    assert "'fast'" in str(error.value)


def test_config_is_frozen_and_identity_follows_content():
    one, same, other = Outer(name="a"), Outer(name="a"), Outer(name="b")
    assert one.content_id() == same.content_id() != other.content_id()
    with pytest.raises(Exception, match="frozen"):
        one.name = "c"


def test_canonical_json_ignores_order_and_refuses_nan():
    assert canonical_json({"b": 1, "a": 2}) == canonical_json({"a": 2, "b": 1})
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))


def test_yaml_never_builds_objects(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_yaml(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path / "absent.yaml")


def test_did_you_mean_says_no_where_nothing_is_near():
    assert did_you_mean("zzz", ["full"]) == "Known: full."
