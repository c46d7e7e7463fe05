from __future__ import annotations

import pytest

from allograft.core.errors import ConfigError, DataError
from allograft.data.labels import LabelSpec, infer_task, plain, target_of


@pytest.mark.parametrize(
    ("labels", "kind", "classes", "noted"),
    [
        (["1", "0", None], "binary", ("0", "1"), False),
        (["yes", "no"], "binary", ("no", "yes"), False),
        (["malignant", "benign"], "binary", ("benign", "malignant"), False),
        (["Normal", "Abnormal"], "binary", ("Normal", "Abnormal"), False),
        (["left", "right"], "binary", ("left", "right"), True),
        (["f", "m"], "binary", ("f", "m"), True),
        (["10", "9", "2"], "multiclass", ("2", "9", "10"), False),
        (["b", "c", "a"], "multiclass", ("a", "b", "c"), False),
    ],
)
def test_inferred_tasks(labels, kind, classes, noted):
    task, notes = infer_task(labels, LabelSpec(), "x.csv")
    assert (task.kind, task.classes, bool(notes)) == (kind, classes, noted)


def test_what_the_user_says_wins():
    assert infer_task(["a", "b"], LabelSpec(positive="a"), "x")[0].classes == ("b", "a")
    assert infer_task(["a", "b"], LabelSpec(classes=("b", "a")), "x")[0].classes == ("b", "a")
    assert infer_task(["a", "b"], LabelSpec(kind="multiclass"), "x")[0].kind == "multiclass"
    task, _ = infer_task(["1.5", "2"], LabelSpec(kind="regression"), "x")
    assert target_of(task, "1.5", "x") == {"label": 1.5}
    with pytest.raises(DataError, match="not a number"):
        target_of(task, "tall", "line 3")


def test_wrong_labels_are_refused():
    with pytest.raises(DataError, match="no case has a label"):
        infer_task([None], LabelSpec(), "x.csv")
    with pytest.raises(DataError, match="all labels are 'a'"):
        infer_task(["a", "a"], LabelSpec(), "x.csv")
    with pytest.raises(DataError, match=r"60 different labels.*identifier"):
        infer_task([str(i) for i in range(60)], LabelSpec(), "x.csv")
    with pytest.raises(DataError, match=r'"malignnt"|malignnt.*Did you mean "malignant"'):
        infer_task(["malignnt", "benign"], LabelSpec(classes=("benign", "malignant")), "x.csv")
    with pytest.raises(ConfigError, match=r"positive class 'c' does not occur"):
        infer_task(["a", "b"], LabelSpec(positive="c"), "x.csv")
    with pytest.raises(ConfigError, match="binary"):
        infer_task(["a", "b", "c"], LabelSpec(kind="binary"), "x.csv")


def test_numbers_from_spreadsheets():
    assert plain("1.0") == plain(" 1 ") == "1"
    assert plain("1.5") == "1.5"
    assert plain("NaN") is None
    assert plain("1_0") == "1_0"
    assert plain("inf") == "inf"
