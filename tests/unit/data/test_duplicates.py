from __future__ import annotations

import io
from itertools import combinations
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st

from allograft.data import duplicates
from allograft.data.duplicates import DISTANCE, find_duplicates, fingerprint

REAL = Path(skimage.data.__file__).parent


def patches(name, size):
    picture = np.asarray(PIL.Image.open(REAL / name).convert("L"))
    rows, columns = (n // size for n in picture.shape)
    return [picture[i * size : (i + 1) * size, j * size : (j + 1) * size] for i in range(rows) for j in range(columns)]


def prints(pictures, group=None):
    return [fingerprint(np.asarray(p)[None], name=str(i), group=group or str(i)) for i, p in enumerate(pictures)]


def jpeg(picture):
    file = io.BytesIO()
    PIL.Image.fromarray(picture).save(file, "JPEG", quality=75)
    return np.asarray(PIL.Image.open(file))


def half(picture):
    image = PIL.Image.fromarray(picture)
    return np.asarray(image.resize((image.width // 2, image.height // 2), PIL.Image.Resampling.BICUBIC))


def faint(picture):
    return (picture * 0.7 + 30).astype(np.uint8)


@pytest.mark.parametrize("name", ["ihc.png", "cell.png", "retina.jpg"])
@pytest.mark.parametrize("change", [jpeg, half, faint])
def test_altered_copies_among_real_patches_are_found_and_nothing_else(name, change):
    real = [p for p in patches(name, 128) if p.std() > 3][:40]
    made = prints([*real, *(change(p) for p in real[:10])])
    found = find_duplicates(made)
    assert {(int(d.first), int(d.second)) for d in found} == {(i, len(real) + i) for i in range(10)}
    assert not any(d.exact for d in found)
    assert all(d.across_groups and d.distance <= DISTANCE for d in found)


def test_real_faces_look_alike_to_the_hash_but_are_no_duplicates():
    faces = np.load(REAL / "lfw_subset.npy")[:100]
    assert find_duplicates(prints(faces)) == ()


def test_exact_copies_in_any_number_type_or_as_grey_colour():
    a, b, *_ = patches("cell.png", 64)
    grey = fingerprint(a[None], name="a", group="x")
    same = fingerprint(a[None].astype(np.float64), name="f", group="x")
    colour = fingerprint(np.stack([a, a, a]), name="c", group="y")
    other = fingerprint(b[None], name="b", group="x")
    pairs = find_duplicates([grey, other, same, colour])
    assert [(p.first, p.second, p.exact, p.across_groups) for p in pairs] == [
        ("a", "f", True, False),
        ("a", "c", True, True),
    ]
    turned = fingerprint(a.T[None], name="t", group="z")
    assert turned.content != grey.content


def test_constant_images_are_exact_or_no_duplicates():
    made = prints([np.full((8, 8), v, np.uint8) for v in (0, 0, 7)])
    assert [(p.first, p.second, p.exact) for p in find_duplicates(made)] == [("0", "1", True)]


def test_volumes_have_fingerprints_too():
    rng = np.random.default_rng(0)
    base = [np.kron(rng.normal(size=(4, 5, 6)), np.ones((5, 5, 5))) for _ in range(10)]
    noisy = base[3] + rng.normal(size=base[3].shape) * 0.1
    made = [fingerprint(v[None], name=str(i), group="g") for i, v in enumerate([*base, noisy])]
    assert [(p.first, p.second, p.across_groups) for p in find_duplicates(made)] == [("3", "10", False)]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 60))
def test_bands_find_exactly_the_pairs_that_comparing_all_finds(seed, n):
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2**63, n, dtype=np.uint64)
    for i in range(1, n, 2):  # a neighbour at a known distance around the limit
        flips = rng.choice(64, int(rng.integers(0, 11)), replace=False)
        bits[i] = bits[i - 1] ^ np.uint64(sum(1 << int(b) for b in flips))
    want = {(a, b) for a, b in combinations(range(n), 2) if (int(bits[a]) ^ int(bits[b])).bit_count() <= DISTANCE}
    assert duplicates._candidates(bits) == want


def test_area_weights_keep_the_mean_and_equal_block_means():
    picture = np.random.default_rng(0).normal(size=(96, 64)).astype(np.float32)
    small = duplicates._small(picture)
    np.testing.assert_allclose(small, picture.reshape(32, 3, 32, 2).mean(axis=(1, 3)), atol=1e-5)
    assert duplicates._small(picture[:7, :5]).shape == (32, 32)
