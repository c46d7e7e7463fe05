from __future__ import annotations

import pytest

from allograft.core.channel_names import canonical_channels, channel_words, match_channels
from allograft.core.input_spec import InputSpec

BRATS = ("t1", "t1ce", "t2", "flair")


@pytest.mark.parametrize(
    ("names", "word"),
    [
        (("t1", "T1w", "T1-weighted", "t1n"), "t1"),
        (("t1ce", "T1Gd", "t1c", "T1_km"), "t1ce"),
        (("FLAIR", "t2f", "T2-FLAIR"), "flair"),
        (("CT", "HU"), "ct"),
        (("Grey", "gray"), "grey"),
        (("b 1000", "B1000"), "b1000"),
    ],
)
def test_words_of_one_meaning_are_one(names: tuple[str, ...], word: str) -> None:
    assert set(canonical_channels(names)) == {word}


def test_words_of_other_meaning_stay_apart() -> None:
    assert len(set(canonical_channels((*BRATS, "adc", "dwi", "pd", "ct", "pet")))) == 9


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (("T1w", "T1Gd", "T2w", "FLAIR"), (0, 1, 2, 3)),
        (("FLAIR", "T1w", "t1gd", "T2w"), (3, 0, 1, 2)),
        (("flair", "adc"), (3, None)),
        (("adc", "dwi"), None),
        (("t1", "T1w"), None),
        ((), None),
        (("t1", ""), None),
    ],
)
def test_channels_meet_by_meaning_or_not_at_all(data: tuple[str, ...], found: tuple[int | None, ...] | None) -> None:
    assert match_channels(BRATS, data) == found


def test_a_source_without_names_meets_nothing() -> None:
    assert match_channels((), BRATS) is None
    assert match_channels(("image", "image"), ("image",)) is None


def test_the_map_in_words() -> None:
    said = channel_words(BRATS, ("FLAIR", "ADC"), (3, None), "mean of known")
    assert said == "FLAIR<-flair, ADC: mean of known; not used: t1, t1ce, t2"


def test_mean_and_std_follow_the_channel_of_their_meaning() -> None:
    card = InputSpec(channels=3, channel_names=("red", "green", "blue"), mean=(0.1, 0.2, 0.3), std=(1, 2, 3))
    swapped = card.for_channels(3, ("B", "G", "R"))
    assert (swapped.mean, swapped.std, swapped.channel_names) == ((0.3, 0.2, 0.1), (3, 2, 1), ("B", "G", "R"))
    two = card.for_channels(2, ("infrared", "green"))
    assert two.mean == (0.2, 0.2)
    unknown = card.for_channels(2)
    assert unknown.mean == pytest.approx((0.2, 0.2))
    assert unknown.channel_names == ()
    assert card.for_channels(3, ("a", "b", "c")).mean == card.mean
