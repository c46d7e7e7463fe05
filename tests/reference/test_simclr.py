"""SimCLR: the loss is the paper's, patients may be kept apart, and it moves the encoder."""

from __future__ import annotations

import math

import pytest
import torch
from lightly.loss import NTXentLoss

from allograft.contracts import Progress
from allograft.core.errors import ConfigError
from allograft.functional.contrastive import group_codes, info_nce, nt_xent
from allograft.objectives.simclr import SimCLR
from two_view_material import AT, built, taught, two_looks


def _loop(a, b, temperature, groups=None):
    """The loss typed as the paper writes it, a pair at a time."""
    z = [x / x.norm() for x in (*a, *b)]
    n, total = len(a), 0.0
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        below = 0.0
        for k in range(2 * n):
            alike = groups is not None and groups[i % n] == groups[k % n] and k != partner
            if k != i and not alike:
                below += math.exp(float(z[i] @ z[k]) / temperature)
        total -= math.log(math.exp(float(z[i] @ z[partner]) / temperature) / below)
    return total / (2 * n)


def _alike(groups):
    """Return (B, B) whether two images are of one patient."""
    codes = group_codes(groups)
    return codes[:, None] == codes


def test_the_loss_equals_a_loop_over_pairs_and_lightly():
    a, b = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    assert float(nt_xent(a, b, 0.2)) == pytest.approx(_loop(a, b, 0.2), abs=1e-9)
    assert float(nt_xent(a.float(), b.float(), 0.2)) == pytest.approx(
        float(NTXentLoss(0.2)(a.float(), b.float())), abs=1e-6
    )


def test_patients_apart_are_no_negatives_of_each_other():
    a, b = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    groups = ("p", "q", "p", "r", "q", "p")
    assert float(nt_xent(a, b, 0.3, _alike(groups))) == pytest.approx(_loop(a, b, 0.3, groups), abs=1e-9)
    alone = _alike([str(i) for i in range(6)])
    assert torch.equal(nt_xent(a, b, 0.3, alone), nt_xent(a, b, 0.3))


def test_equal_projections_give_the_logarithm_of_the_others():
    same = torch.ones(5, 4)
    assert float(nt_xent(same, same, 0.1)) == pytest.approx(math.log(9), abs=1e-6)
    assert float(info_nce(same, same, 0.1)) == pytest.approx(math.log(5), abs=1e-6)


def test_info_nce_of_the_worked_toy():
    def toy(n, d, a, b, shift=0.0):
        i, j = torch.meshgrid(torch.arange(n, dtype=torch.float64), torch.arange(d, dtype=torch.float64), indexing="ij")
        return torch.sin(a * (i + 1) + b * (j + 1) + 0.1 * (i + 1) * (j + 1)) + shift

    assert float(toy(12, 3, 1.0, 2.0)[0, 0]) == pytest.approx(0.041581, abs=1e-6)
    q, k = (torch.nn.functional.normalize(toy(4, 3, *args), dim=1) for args in ((0.9, 0.4), (0.8, 0.5, 0.1)))
    assert float(info_nce(q, k, 0.1)) == pytest.approx(0.0362399231, abs=1e-8)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_loss_moves_the_encoder_and_falls_on_synthetic_images(dims):
    nets, criterion = built(SimCLR(temperature=0.5), dims)
    batch = {"images": two_looks(8, dims)}
    losses = taught(nets, criterion, batch, 25)
    assert losses[-1] < losses[0] - 0.2
    _, against = built(SimCLR(temperature=0.5, patients="negatives"), dims)
    against.load_state_dict(criterion.state_dict())
    assert against(nets, batch, AT, "all").total > criterion(nets, batch, AT, "all").total


def test_one_image_in_a_step_is_refused():
    nets, criterion = built(SimCLR(), 2)
    with pytest.raises(ConfigError, match=r"1 image.*budget\.batch"):
        criterion(nets, {"images": two_looks(1, 2)}, AT, "all")


def test_images_of_one_patient_only_are_refused_where_they_are_no_negatives():
    batch = two_looks(4, 2)
    object.__setattr__(batch, "groups", ("p",) * 4)
    nets, criterion = built(SimCLR(), 2)
    with pytest.raises(ConfigError, match=r"one patient.*patients: negatives"):
        criterion(nets, {"images": batch}, Progress(0, 10), "all")
    assert float(criterion(nets, {"images": batch}, AT, "all").total.detach()) == 0, (
        "by chance, later: nothing to learn"
    )
    criterion.eval()(nets, {"images": batch}, Progress(0, 10), "all")
    nets, criterion = built(SimCLR(patients="negatives"), 2)
    assert float(criterion(nets, {"images": batch}, Progress(0, 10), "all").total.detach()) > 0


def test_the_projector_has_one_hidden_layer_as_wide_as_the_features():
    _, criterion = built(SimCLR(), 2)
    assert [tuple(p.shape) for p in criterion.projector.parameters() if p.ndim == 2] == [(8, 8), (128, 8)]


def test_both_looks_are_compared():
    nets, criterion = built(SimCLR(), 2)
    batch = two_looks(6, 2)
    loss = float(criterion(nets, {"images": batch}, AT, "all").total.detach())
    a, b = (criterion.projector(nets["net"](x).pooled) for x in (batch.image, batch.views[0].image))
    assert loss == pytest.approx(float(nt_xent(a, b, 0.1, _alike(batch.groups)).detach()), abs=1e-5)
