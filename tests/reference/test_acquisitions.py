"""Acquisitions: the worked picks of methods.md 8.1 and 8.3, entropies by scipy, limits, and traps of released code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import entropy as scipy_entropy

from allograft.catalog import ACQUISITIONS
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.patches import Patches
from allograft.functional.farthest import farthest
from allograft.functional.orb import orb_descriptor
from allograft.functional.uncertainty import entropy_bits, margin_doubt, most_doubtful, mutual_information
from allograft.infer.doubt import Passes, case_doubt, mask_doubt, noisy
from allograft.procedures.acquisition.acquisition import Situation
from allograft.procedures.acquisition.bald import BALD
from allograft.procedures.acquisition.entropy import Entropy
from allograft.procedures.acquisition.k_centre import KCentre
from allograft.procedures.acquisition.margin import Margin
from allograft.procedures.acquisition.measures import disagreement, entropy
from allograft.procedures.acquisition.medal import MedAL
from allograft.procedures.acquisition.o_medal import OMedAL
from allograft.procedures.acquisition.random import Random
from allograft.testing.tiny import tiny_net

LABELLED = np.array([(0, 0), (1, 0), (0, 1)], dtype=float)
FREE = np.array([(5, 5), (5.2, 4.9), (-4, 0), (0.5, 0.5), (0, -6)])
YES = np.array([0.52, 0.95, 0.40, 0.5, 0.30])


def scene(free: Any = FREE, labelled: Any = LABELLED, yes: Any = YES, passes: Any = None) -> Situation:
    """Return a synthetic situation of cases 0, 1, ... with these features and probabilities of two classes."""
    p = np.stack([1 - yes, yes], axis=-1)

    def doubt(measure: Callable[[Any], Any], count: int) -> Any:
        return measure(p[None] if not count else passes)

    def features(rows: Sequence[int], level: int) -> Any:
        return free[list(rows)]

    return Situation(tuple(map(str, range(len(free)))), doubt, features, lambda level: labelled)


def picks(method: Any, count: int, state: Situation | None = None, seed: int = 0) -> list[int]:
    return [int(name) for name in method.pick(state or scene(), count, seed)]


def test_worked_entropies_and_the_order_of_the_candidates() -> None:
    found = entropy_bits(np.stack([1 - YES, YES], axis=-1))
    assert np.allclose(found, [0.998846, 0.286397, 0.970951, 1, 0.881291], atol=1e-6)
    assert np.allclose(found, scipy_entropy([1 - YES, YES], base=2))
    assert most_doubtful(found, 4) == [3, 0, 2, 4]


def test_entropy_of_certainty_is_zero_and_the_sign_of_the_second_term_is_right() -> None:
    certain = entropy_bits(np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert certain.tolist() == [0.0, 0.0]
    assert not np.signbit(certain).any()
    p = np.linspace(0, 1, 101)
    forward, backward = (entropy_bits(np.stack([1 - q, q], -1)) for q in (p, 1 - p))
    assert np.allclose(forward, backward), "H(p) = H(1 - p): the wrong sign of a released script breaks this"
    assert (forward >= 0).all()
    assert np.isclose(entropy_bits(np.full(8, 1 / 8)), 3)


@pytest.mark.parametrize("rule", ["mean", "centroid", "min"])
def test_worked_picks_of_four_candidates_agree_under_every_rule(rule: str) -> None:
    assert picks(MedAL(candidates=4, rule=rule), 3) == [0, 4, 2]


@pytest.mark.parametrize(("rule", "expected"), [("mean", [1, 4, 0]), ("centroid", [1, 4, 0]), ("min", [1, 4, 2])])
def test_worked_picks_of_five_candidates_tell_the_rules_apart(rule: str, expected: list[int]) -> None:
    assert picks(MedAL(candidates=5, rule=rule), 3) == expected
    if rule == "centroid":
        assert picks(OMedAL(candidates=5), 3) == expected


def test_the_centroid_is_not_the_mean_distance() -> None:
    known, free = np.array([(-5.0, 0), (5, 0)]), np.array([(0, 3.0), (3.2, 0)])
    assert np.allclose(cdist(free, known).mean(1), (5.8310, 5.0), atol=1e-4)
    assert np.allclose(np.linalg.norm(free - known.mean(0), axis=1), (3.0, 3.2))
    state = scene(free, known, np.array([0.5, 0.5]))
    assert picks(MedAL(), 1, state) == [0]
    assert picks(OMedAL(), 1, state) == [1]


@pytest.mark.parametrize("rule", ["mean", "centroid", "min"])
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_updated_distances_equal_those_made_anew_by_scipy(rule: Any, distance: Any) -> None:
    rng = np.random.default_rng(3)
    free, known = rng.normal(size=(30, 7)), rng.normal(size=(5, 7))
    taken: list[int] = []
    for _ in range(12):
        there = np.concatenate([known, free[taken]])
        if rule == "centroid":
            rows = there if distance == "euclidean" else there / np.linalg.norm(there, axis=1, keepdims=True)
            each = cdist(free, rows.mean(0)[None], distance)[:, 0]
        else:
            each = cdist(free, there, distance).mean(1) if rule == "mean" else cdist(free, there, distance).min(1)
        each[taken] = -np.inf
        taken.append(int(each.argmax()))
    assert farthest(free, known, 12, rule=rule, distance=distance) == taken


def test_m_of_k_is_uncertainty_and_m_of_all_is_diversity() -> None:
    assert set(picks(MedAL(candidates=3), 3)) == set(picks(Entropy(), 3)) == {3, 0, 2}
    assert picks(MedAL(candidates=1), 3) != []
    blind = scene(yes=np.full(5, 0.5))
    assert picks(MedAL(candidates=0), 5) == picks(MedAL(candidates=5), 5, blind)
    assert picks(MedAL(candidates=0, rule="min"), 4) == picks(KCentre(), 4)


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_no_case_is_picked_twice_and_ties_go_by_index(name: str) -> None:
    alike = np.zeros((6, 2))
    state = scene(alike, alike[:2], np.full(6, 0.5), passes=np.full((3, 6, 2), 0.5))
    found = picks(ACQUISITIONS[name](), 6, state)
    assert sorted(found) == list(range(6))
    if name != "random":
        assert found == list(range(6))
    assert len(picks(ACQUISITIONS[name](), 9, state)) == 6


def test_random_is_uniform_and_repeatable() -> None:
    first = [picks(Random(), 1, seed=seed)[0] for seed in range(1000)]
    assert np.bincount(first, minlength=5).min() > 150
    assert picks(Random(), 3, seed=4) == picks(Random(), 3, seed=4)


def test_margin_by_hand_and_its_order_for_two_classes() -> None:
    p = np.array([[0.5, 0.45, 0.05], [0.4, 0.3, 0.3], [0.98, 0.01, 0.01]])
    assert np.allclose(margin_doubt(p), [0.95, 0.9, 0.03])
    assert most_doubtful(entropy_bits(p), 1) == [1], "entropy would ask for another one"
    assert picks(Margin(), 5) == picks(Entropy(), 5)


def test_bald_by_hand_and_what_all_passes_agree_on_is_nothing() -> None:
    agree = np.full((4, 2), 0.5)
    split = np.array([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    p = np.stack([agree, split], axis=1)
    assert np.allclose(mutual_information(p), [0, 1])
    by_hand = scipy_entropy(p.mean(0), axis=1, base=2) - scipy_entropy(p, axis=2, base=2).mean(0)
    assert np.allclose(mutual_information(p), by_hand)
    state = scene(FREE[:2], LABELLED, np.array([0.5, 0.5]), passes=p)
    assert picks(BALD(passes=4), 2, state) == [1, 0]


def test_k_centre_is_within_twice_the_best_radius() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        free, known = rng.normal(size=(9, 2)), rng.normal(size=(2, 2))
        radius = lambda chosen: cdist(free, np.concatenate([known, free[list(chosen)]])).min(1).max()  # noqa: E731, B023
        best = min(radius(chosen) for chosen in combinations(range(9), 3))
        assert radius(farthest(free, known, 3, rule="min")) <= 2 * best + 1e-12


@pytest.mark.parametrize("dims", [2, 3])
def test_doubt_of_a_network_is_the_entropy_of_its_own_probabilities(dims: int) -> None:
    task = Task(kind="multiclass", classes=("a", "b", "c"))
    net = tiny_net(dims, outputs=3)
    x = torch.randn(5, 3, *[12] * dims)
    found = case_doubt([net], [x[:3], x[3:]], task, entropy)
    with torch.no_grad():
        p = net.eval()(x).logits["label"].softmax(1).numpy()
    assert np.allclose(found, scipy_entropy(p, axis=1, base=2), atol=1e-5)
    mask = Task(kind="segmentation", classes=("a", "b", "c"))
    dense, image = tiny_net(dims, outputs=3, decoder=True), x[0]
    dense.decoder.channels = 4  # as decoders of the catalog say
    whole = Patches(size=(12,) * dims, overlap=0)
    with torch.no_grad():
        q = dense.eval()(image[None]).logits["label"].softmax(1)[0].flatten(1).T.numpy()
    assert np.isclose(mask_doubt([dense], image, mask, entropy, patches=whole), scipy_entropy(q, axis=1, base=2).mean())


def test_several_labels_of_an_image_count_alike() -> None:
    task = Task(kind="multilabel", classes=("a", "b", "c"))
    net, x = tiny_net(2, outputs=3), torch.randn(4, 3, 12, 12)
    with torch.no_grad():
        p = net.eval()(x).logits["label"].sigmoid().numpy()
    expected = scipy_entropy(np.stack([p, 1 - p], -1), axis=-1, base=2).mean(1)
    assert np.allclose(case_doubt([net], [x], task, entropy), expected, atol=1e-5)


def test_noise_is_drawn_by_seed_leaves_the_network_alone_and_needs_dropout() -> None:
    task = Task(kind="binary", classes=("a", "b"))
    net, x = tiny_net(2, outputs=1), torch.randn(6, 3, 12, 12)
    with pytest.raises(ConfigError, match=r"net\.dropout"):
        case_doubt([net], [x], task, disagreement, passes=Passes(3))
    net.heads["label"] = torch.nn.ModuleList([net.heads["label"]])[0]
    net.heads["label"].linear = torch.nn.Sequential(torch.nn.Dropout(0.5), net.heads["label"].linear)
    before, state = {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state()
    one, same, other = (case_doubt([net], [x], task, disagreement, passes=Passes(4, s)) for s in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert (one > 0).all()
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    quiet = case_doubt([net], [x], task, disagreement)
    assert np.allclose(quiet, 0), "one pass agrees with itself"
    assert noisy(net).heads["label"].linear[0] is not net.heads["label"].linear[0]


def test_orb_of_real_pictures_is_binary_repeatable_and_tells_them_apart() -> None:
    from skimage import data

    grass, gravel = data.grass()[:128, :128], data.gravel()[:128, :128]
    a, b = orb_descriptor(grass), orb_descriptor(gravel)
    assert a.shape == (256,)
    assert set(np.unique(a)) <= {0.0, 1.0}
    assert np.array_equal(a, orb_descriptor(grass))
    assert np.array_equal(a, orb_descriptor(grass.astype(float) * 3)), "scaled by its largest value"
    assert not np.array_equal(a, b)
    assert orb_descriptor(np.zeros((20, 20))).tolist() == [0.0] * 256
    assert orb_descriptor(grass[:24, :24]).shape == (256,)
