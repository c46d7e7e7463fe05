import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allograft.core.atomic import folder_aside, write_bytes, write_text
from allograft.core.geometry import Geometry
from allograft.core.input_spec import InputSpec
from allograft.core.private import hide, pseudonym, site_salt
from allograft.core.reference import Reference
from allograft.core.seeds import seed_for
from allograft.core.task import Task


@given(st.lists(st.one_of(st.text(), st.integers(), st.floats(allow_nan=False)), min_size=1, max_size=4))
def test_seed_is_stable_and_in_range(names):
    assert 0 <= seed_for(*names) < 2**63
    assert seed_for(*names) == seed_for(*names)


def test_seeds_tell_names_apart():
    assert seed_for("a", "b") != seed_for("ab") != seed_for("b", "a")
    assert seed_for("a", 1) != seed_for("a", "1")
    with pytest.raises(ValueError, match="at least one name"):
        seed_for()


def test_write_leaves_old_content_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "f.txt"
    write_text(path, "old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_bytes(path, b"new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f.txt"]


def test_first_folder_wins_and_errors_leave_nothing(tmp_path):
    final = tmp_path / "run"
    with folder_aside(final) as first:
        (first / "a").write_text("1")
        with folder_aside(final) as second:
            (second / "a").write_text("2")
    assert (final / "a").read_text() == "2"
    with pytest.raises(FileNotFoundError), folder_aside(tmp_path / "other") as aside:
        (aside / "absent").read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


def test_geometry_tells_grids_apart_2d_and_3d():
    for shape in ((4, 5), (3, 4, 5)):
        one = Geometry.of_pixels(shape)
        assert one.same_grid(Geometry.of_pixels(shape))
        moved = one.model_copy(update={"origin": tuple(0.5 for _ in shape)})
        assert not one.same_grid(moved)
        assert not one.same_grid(one.model_copy(update={"unit": "mm"}))
        np.testing.assert_array_equal(one.affine(), np.eye(len(shape) + 1))
    with pytest.raises(ValueError, match="positive"):
        Geometry(shape=(2, 2), spacing=(0.0, 1.0), origin=(0, 0), direction=((1, 0), (0, 1)))


def test_input_spec_averages_for_other_channels_and_refuses_wrong_counts():
    spec = InputSpec(mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3))
    grey = spec.for_channels(1)
    assert grey.mean == (0.5,)
    assert grey.std == pytest.approx((0.2,))
    assert spec.for_channels(3) is spec
    with pytest.raises(ValueError, match="2 values for 3 channels"):
        InputSpec(mean=(0.0, 1.0))


def test_task_outputs_and_refusals():
    assert Task(kind="binary", classes=("no", "yes")).outputs == 1
    assert Task(kind="multiclass", classes=("a", "b", "c")).outputs == 3
    with pytest.raises(ValueError, match="2 classes"):
        Task(kind="binary", classes=("a", "b", "c"))
    with pytest.raises(ValueError, match="different"):
        Task(kind="multiclass", classes=("a", "a"))


def test_pseudonyms_hide_ids_and_differ_by_site(tmp_path, monkeypatch):
    monkeypatch.setenv("ALLOGRAFT_HOME", str(tmp_path))
    salt = site_salt()
    assert salt == site_salt()
    assert (tmp_path / "salt").stat().st_mode & 0o077 == 0
    assert pseudonym("P017", salt) == pseudonym("P017", salt) != pseudonym("P017", "other")
    assert "P017" not in pseudonym("P017", salt)


def test_reference_in_short_and_bibtex():
    ref = Reference(title="Transfusion: x", authors=("Raghu", "Zhang", "Kleinberg"), year=2019, arxiv="1902.07208")
    assert ref.short() == "Raghu et al. 2019, arXiv:1902.07208"
    assert ref.bibtex().startswith("@article{raghu2019transfusion,")


def test_core_needs_no_torch():
    names = "allograft.core.config, allograft.core.task, allograft.core.private"
    code = f"import sys, {names}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_messages_hide_ids_as_whole_words_longest_first():
    names = {"P1": "aaa", "P1_s2": "bbb", "7": "ccc"}
    assert hide("case P1_s2 and P1, not P12 or 0.7; step 17", names) == "case bbb and aaa, not P12 or 0.7; step 17"
    assert hide("nothing here", names) == "nothing here"
