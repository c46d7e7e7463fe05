"""Roles: shares of a batch that sum to it, and what is said where a role is empty."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allograft.contracts import StreamSpec
from allograft.objectives.mean_teacher import MeanTeacher
from allograft.study.roles import role_missing, stream_counts


@given(st.integers(2, 500))
def test_halves_sum_to_the_batch_and_labelled_cases_are_the_odd_one_more(batch: int) -> None:
    counts = stream_counts(MeanTeacher().streams(), batch)
    assert sum(counts.values()) == batch
    assert counts["train"] - counts["unlabelled"] == batch % 2


def test_stated_numbers_are_exact_and_the_other_stream_keeps_its_half() -> None:
    assert stream_counts(MeanTeacher(labelled_batch=3).streams(), 32) == {"train": 3, "unlabelled": 16}
    assert stream_counts(MeanTeacher(labelled_batch=4, unlabelled_batch=28).streams(), 8) == {
        "train": 4,
        "unlabelled": 28,
    }


def test_streams_without_a_share_take_the_whole_batch_each() -> None:
    assert stream_counts({"a": StreamSpec(), "b": StreamSpec("b")}, 7) == {"a": 7, "b": 7}
    assert stream_counts({"a": StreamSpec(share=0.5), "b": StreamSpec(share=0.5)}, 1) == {"a": 1, "b": 1}


@pytest.mark.parametrize(
    ("role", "what"), [("unlabelled", "label_fractions below 1"), ("sites", "it gives train, val")]
)
def test_an_empty_role_says_what_to_do(role: str, what: str) -> None:
    error = role_missing('recipe "x"', "stream", role, ["val", "train"])
    assert what in str(error)
    assert 'recipe "x"' in str(error)
