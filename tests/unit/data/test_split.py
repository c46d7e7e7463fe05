from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allograft.core.errors import ConfigError, DataError
from allograft.core.task import Task
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.split import Fold, _check_disjoint, folds, groups_by_class, label_fraction

AB = Task(kind="binary", classes=("a", "b"))
ABC = Task(kind="multiclass", classes=("a", "b", "c"))


def cohort(labels, groups=None, splits=None, task=AB):
    groups = groups or [f"g{i}" for i in range(len(labels))]
    splits = splits or [""] * len(labels)
    cases = tuple(
        Case(
            id=f"c{i}", image=(ImageRef(Path(f"{i}.png")),), targets={} if y is None else {"label": y}, group=g, split=s
        )
        for i, (y, g, s) in enumerate(zip(labels, groups, splits, strict=True))
    )
    return Cohort(name="synthetic", task=task, cases=cases)


def group_sets(data, fold):
    return [{data[name].group for name in ids} for ids in fold]


@settings(max_examples=12, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=20, max_size=40),
    n=st.integers(3, 5),
    seed=st.integers(0, 10**12),
    mixed=st.booleans(),
)
def test_groups_never_cross_and_each_case_is_tested_once(sizes, n, seed, mixed):
    groups = [f"g{g}" for g, size in enumerate(sizes) for _ in range(size)]
    labels = [(i if mixed else int(name[1:])) % 2 for i, name in enumerate(groups)]
    labels[0] = 0
    data = cohort([*labels, None, None], [*groups, "g0", "other"])
    made = folds(data, n, seed)
    assert len(made) == n
    tested = [name for fold in made for name in fold.test]
    assert sorted(tested) == sorted(data.labelled().ids)
    for fold in made:
        train, val, test, free = group_sets(data, fold)
        assert not train & val
        assert not train & test
        assert not val & test
        assert not free & (val | test)
        assert sorted(fold.train + fold.val + fold.test) == sorted(data.labelled().ids)
        for ids in fold[:3]:
            assert {data[name].targets["label"] for name in ids} == {0, 1}
        assert f"c{len(labels) + 1}" in fold.unlabelled
    assert made == folds(data, n, seed)


def test_another_seed_gives_other_folds_of_the_same_balance():
    data = cohort([0, 1] * 50)
    one, two = folds(data, 5, 0), folds(data, 5, 1)
    assert one != two
    for fold in (*one, *two):
        assert [len(part) for part in fold[:3]] == [60, 20, 20]
        assert sum(data[name].targets["label"] for name in fold.test) == 10


def test_rare_classes_are_refused_with_their_counts():
    with pytest.raises(DataError, match=r"class 'b' has 1 case\(s\) in 1 group\(s\) \(patient\), fewer than 5 folds"):
        folds(cohort([0] * 20 + [1]))
    with pytest.raises(DataError, match=r"class 'b' has 9 case\(s\) in 2 group\(s\)"):
        folds(cohort([0] * 20 + [1] * 9, [f"g{i}" for i in range(20)] + ["x"] * 5 + ["y"] * 4), 3)
    with pytest.raises(DataError, match=r"class 'c' has 0 case"):
        folds(cohort([0, 1] * 10, task=ABC), 3)
    with pytest.raises(DataError, match="2 groups"):
        folds(cohort([0, 1] * 10, ["x", "y"] * 10), 3)
    with pytest.raises(DataError, match="no case has a label"):
        folds(cohort([None, None]))
    with pytest.raises(ConfigError, match="at least 3"):
        folds(cohort([0, 1] * 10), 2)


def test_multilabel_spreads_the_rarest_label():
    rng = np.random.default_rng(0)
    labels = (rng.random((90, 3)) < (0.5, 0.3, 0.1)).astype(int)
    task = Task(kind="multilabel", classes=("a", "b", "c"))
    data = cohort([tuple(map(int, row)) for row in labels], task=task)
    rare = [sum(data[name].targets["label"][2] for name in fold.test) for fold in folds(data, 3)]
    assert max(rare) - min(rare) <= 1
    assert groups_by_class(data)["not c"] == int((labels[:, 2] == 0).sum())
    with pytest.raises(DataError, match="class 'c' has 1 case"):
        folds(cohort([(1, 0, int(i == 0)) if i % 2 else (0, 1, int(i == 0)) for i in range(20)], task=task), 3)


def test_regression_and_masks_are_split_too():
    task = Task(kind="regression", classes=("value",))
    data = cohort([float(i) for i in range(60)], task=task)
    means = [np.mean([data[name].targets["label"] for name in fold.test]) for fold in folds(data, 3)]
    assert max(means) - min(means) < 8
    masks = Task(kind="segmentation", classes=("background", "nodule"))
    data = cohort([ImageRef(Path("m.png"))] * 12, [f"g{i // 2}" for i in range(12)], task=masks)
    assert len(folds(data, 3)) == 3


def test_fixed_splits_are_honoured():
    data = cohort([0, 1] * 4 + [None], splits=["train"] * 4 + ["val"] * 2 + ["test"] * 2 + [""])
    (fold,) = folds(data)
    assert (fold.train, fold.val, fold.test) == (data.ids[:4], data.ids[4:6], data.ids[6:8])
    assert fold.unlabelled == ("c8",)


def test_val_is_drawn_from_train_by_group_where_it_is_missing():
    data = cohort([0, 1] * 20, [f"g{i // 4}" for i in range(40)], ["train"] * 32 + ["test"] * 8)
    (fold,) = folds(data, 4, seed=3)
    assert fold.test == data.ids[32:]
    train, val, *_ = group_sets(data, fold)
    assert len(val) == 2
    assert not train & val


def test_wrong_fixed_splits_are_refused():
    with pytest.raises(DataError, match=r"patient 'x' is in 2 fixed splits \(train: c0; test: c3\)"):
        folds(cohort([0, 1, 0, 1], ["x", "b", "c", "x"], ["train", "train", "val", "test"]))
    with pytest.raises(DataError, match=r"1 labelled cases have no split.*'c2'"):
        folds(cohort([0, 1, 0, 1], splits=["train", "val", "", "test"]))
    with pytest.raises(DataError, match="no test cases"):
        folds(cohort([0, 1, 0, 1], splits=["train", "val", "train", "train"]))


def test_unlabelled_cases_of_a_fixed_test_split_are_not_trained_on():
    data = cohort([0, 1] * 3 + [None] * 2, splits=["train"] * 2 + ["val"] * 2 + ["test"] * 2 + ["test", "train"])
    assert folds(data)[0].unlabelled == ("c7",)


def test_the_last_check_can_say_no():
    data = cohort([0, 1, 0], ["x", "y", "x"])
    with pytest.raises(DataError, match="'x' is in two parts"):
        _check_disjoint(data, Fold(("c0",), ("c1",), ("c2",)))
    with pytest.raises(DataError, match="a part is empty"):
        _check_disjoint(data, Fold(("c0",), ("c1",), ()))


@settings(max_examples=20, deadline=None)
@given(
    labels=st.lists(st.integers(0, 2), min_size=6, max_size=60),
    fractions=st.lists(st.floats(0.01, 1.0), min_size=2, max_size=5),
    seed=st.integers(0, 1000),
)
def test_fractions_are_nested_and_hold_every_class(labels, fractions, seed):
    data = cohort([*labels, None], task=ABC)
    before: set[str] = set()
    for fraction in sorted(fractions):
        ids = label_fraction(data.ids, data, fraction, seed)
        assert before <= set(ids)
        assert {data[name].targets["label"] for name in ids} == set(labels)
        for c in set(labels):
            n = labels.count(c)
            got = sum(data[name].targets["label"] == c for name in ids)
            assert abs(got - max(1, fraction * n)) <= 0.5 + 1e-9
        before = set(ids)
    assert label_fraction(data.ids, data, 1.0, seed) == data.labelled().ids


def test_fraction_ranks_do_not_depend_on_order_and_change_with_the_seed():
    data = cohort([0, 1] * 30)
    ids = label_fraction(data.ids, data, 0.3, 1)
    assert ids == label_fraction(reversed(data.ids), data, 0.3, 1)
    assert ids != label_fraction(data.ids, data, 0.3, 2)
    with pytest.raises(ConfigError, match="label fraction 0"):
        label_fraction(data.ids, data, 0.0, 1)
    with pytest.raises(DataError, match="no case 'zz'"):
        label_fraction(["zz"], data, 0.5, 1)


def test_large_cohorts_without_groups_are_split_quickly():
    data = cohort([i % 3 for i in range(3000)], task=ABC)
    assert len(folds(data, 5)) == 5
