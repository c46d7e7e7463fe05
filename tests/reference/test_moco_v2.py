"""MoCo v2: the loss is the paper's, the queue keeps order, the key encoder follows and is never pushed."""

from __future__ import annotations

import math

import pytest
import torch
from lightly.loss import NTXentLoss
from torch.nn import functional as F

from allograft.contracts import Progress
from allograft.core.errors import ConfigError
from allograft.functional.contrastive import group_codes, queue_nce
from allograft.objectives.moco_v2 import MoCoV2
from allograft.objectives.two_views import NOBODY
from two_view_material import AT, built, rows, taught, two_looks

TINY = MoCoV2(output=6, queue=10, momentum=0.9, parts=1)


def _unit(count, width, seed):
    return (F.normalize(z, dim=1) for z in rows(count, width, seed))


def test_the_loss_equals_a_loop_over_keys():
    query, key = _unit(4, 5, 0)
    queue, _ = _unit(7, 5, 1)
    total = 0.0
    for q, k in zip(query, key, strict=True):
        own = math.exp(float(q @ k) / 0.2)
        total -= math.log(own / (own + sum(math.exp(float(q @ n) / 0.2) for n in queue)))
    assert float(queue_nce(query, key, queue, 0.2)) == pytest.approx(total / 4, abs=1e-9)


def test_the_loss_equals_that_of_lightly_with_a_memory_bank():
    judge = NTXentLoss(0.2, memory_bank_size=(8, 5))
    query, key = (z.float() for z in rows(4, 5))
    judge(query, key)  # makes the bank
    bank = judge.memory_bank.bank.clone()
    want = judge(query, key)  # keys enter after the loss
    bank = bank if bank.shape == (5, 8) else bank.T
    found = queue_nce(F.normalize(query, dim=1), F.normalize(key, dim=1), bank.T.contiguous(), 0.2)
    assert float(found) == pytest.approx(float(want), abs=1e-6)


def test_equal_keys_give_the_logarithm_of_the_queue():
    same = F.normalize(torch.ones(3, 4), dim=1)
    assert float(queue_nce(same, same, same[:1].repeat(9, 1), 0.2)) == pytest.approx(math.log(10), abs=1e-6)


def test_the_queue_holds_the_last_keys_in_order_and_wraps():
    nets, criterion = built(TINY, 2)
    begun, batches = criterion.queue.clone(), [two_looks(4, 2, seed=s) for s in range(3)]
    assert bool((criterion.owners == NOBODY).all())
    kept = []
    for batch in batches:
        key = criterion.targets(nets["net"], batch.views[0].image)[0]
        kept.append(F.normalize(key, dim=1))
        criterion(nets, {"images": batch}, AT, "all")
        if len(kept) == 2:
            assert torch.equal(criterion.queue[8:], begun[8:]), "the oldest stay until their turn comes"
    first, second, third = kept
    want = torch.cat([third[2:], first[2:], second, third[:2]])
    torch.testing.assert_close(criterion.queue, want)
    assert int(criterion.place) == 2
    assert torch.equal(criterion.owners[:2], group_codes(batches[2].groups)[2:])


def test_more_keys_than_the_queue_holds_leave_the_last():
    nets, criterion = built(TINY.model_copy(update={"queue": 3}), 2)
    batch = two_looks(8, 2)
    keys = F.normalize(criterion.targets(nets["net"], batch.views[0].image)[0], dim=1)
    criterion(nets, {"images": batch}, AT, "all")
    order = [(8 - 3 + i) % 3 for i in range(3)]
    torch.testing.assert_close(criterion.queue[order], keys[-3:])


@pytest.mark.parametrize("dims", [2, 3])
def test_the_key_encoder_gets_no_gradient_and_follows_as_typed(dims):
    nets, criterion = built(TINY, dims)
    slow = [*criterion.slow_net.parameters(), *criterion.slow_projector.parameters()]
    fast = [*nets["net"].parameters(), *criterion.projector.parameters()]
    before = [p.clone() for p in slow]
    losses = taught(nets, criterion, {"images": two_looks(8, dims)}, 1)
    assert losses[0] > 0
    assert all(p.grad is None and not p.requires_grad for p in slow)
    for was, now, student in zip(before, slow, fast, strict=True):
        torch.testing.assert_close(now, 0.9 * was + 0.1 * student.detach())
    assert any(not torch.equal(was, now) for was, now in zip(before, slow, strict=True))


def test_keys_of_the_same_patient_are_left_out():
    query, key = _unit(2, 5, 0)
    queue, _ = _unit(6, 5, 1)
    barred = torch.tensor([[1, 0, 0, 1, 0, 0], [0] * 6]).bool()
    left = queue[[1, 2, 4, 5]]
    apart = (queue_nce(query[:1], key[:1], left, 0.2) + queue_nce(query[1:], key[1:], queue, 0.2)) / 2
    assert float(queue_nce(query, key, queue, 0.2, barred)) == pytest.approx(float(apart), abs=1e-9)
    nets, criterion = built(TINY, 2)
    batch = {"images": two_looks(8, 2)}
    criterion(nets, batch, AT, "all")  # now the queue holds keys of the batch's own images
    _, other = built(TINY.model_copy(update={"patients": "negatives"}), 2)
    other.load_state_dict(criterion.state_dict())
    assert other(nets, batch, AT, "all").total > criterion(nets, batch, AT, "all").total


def test_the_loss_falls_on_synthetic_images():
    nets, criterion = built(MoCoV2(output=6, queue=16, momentum=0.5), 2)
    losses = taught(nets, criterion, {"images": two_looks(8, 2)}, 30)
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def _still(nets, criterion):
    """Let norm layers use running statistics, so that an image's key does not depend on what stands beside it."""
    for module in (*nets.values(), criterion):
        module.eval()
    criterion.training = True


@pytest.mark.parametrize("count", [4, 7])
def test_parts_of_a_batch_change_nothing_but_statistics(count):
    nets, criterion = built(MoCoV2(output=6, queue=16, parts=3), 2)
    _, whole = built(MoCoV2(output=6, queue=16, parts=1), 2)
    whole.load_state_dict(criterion.state_dict())
    for each in (criterion, whole):
        _still(nets, each)
    batch = {"images": two_looks(count, 2)}
    torch.manual_seed(1)
    one, other = (float(each(nets, batch, AT, "all").total.detach()) for each in (criterion, whole))
    assert one == pytest.approx(other, abs=1e-5)
    torch.testing.assert_close(criterion.queue, whole.queue)


def test_parts_of_a_batch_normalise_by_themselves_and_keys_stand_beside_others_than_their_queries():
    nets, criterion = built(MoCoV2(output=6, queue=16, parts=2), 2)
    seen = {"queries": [], "keys": []}
    nets["net"].encoder.register_forward_pre_hook(lambda module, given: seen["queries"].append(given[0]))
    criterion.slow_net.encoder.register_forward_pre_hook(lambda module, given: seen["keys"].append(given[0]))
    batch = two_looks(8, 2)
    torch.manual_seed(0)
    criterion(nets, {"images": batch}, AT, "all")
    assert [len(part) for parts in seen.values() for part in parts] == [4, 4, 4, 4]
    views = {"queries": batch.image, "keys": batch.views[0].image}
    stood = {
        name: [{int(i) for x in part for i in (views[name] == x).flatten(1).all(1).nonzero()} for part in parts]
        for name, parts in seen.items()
    }
    assert stood["queries"] == [{0, 1, 2, 3}, {4, 5, 6, 7}]
    assert set.union(*stood["keys"]) == set(range(8))
    assert stood["keys"][0] not in stood["queries"]
    seen["keys"].clear()
    criterion.eval()(nets, {"images": batch}, AT, "all")
    assert [len(part) for part in seen["keys"]] == [8], "a look at held-out images has nothing to hide"


def test_keys_and_queries_have_length_one_and_held_out_images_do_not_enter_the_queue():
    nets, criterion = built(TINY, 2)
    batch = two_looks(8, 2)
    query, key = criterion._looked(nets["net"], batch.image, batch.views[0].image)
    torch.testing.assert_close(query.norm(dim=1), torch.ones(8))
    torch.testing.assert_close(key.norm(dim=1), torch.ones(8))
    torch.testing.assert_close(criterion.queue.norm(dim=1), torch.ones(10))
    wanted = queue_nce(query.detach(), key, criterion.queue, 0.2)
    assert float(criterion(nets, {"images": batch}, AT, "all").total.detach()) == pytest.approx(float(wanted), abs=1e-5)
    kept = criterion.queue.clone()
    criterion.eval()(nets, {"images": two_looks(8, 2, seed=5)}, AT, "all")
    assert torch.equal(criterion.queue, kept)


def test_images_of_one_patient_only_are_refused_where_they_are_no_negatives():
    batch = two_looks(4, 2)
    object.__setattr__(batch, "groups", ("p",) * 4)
    nets, criterion = built(TINY, 2)
    with pytest.raises(ConfigError, match=r"one patient.*patients: negatives"):
        criterion(nets, {"images": batch}, Progress(0, 10), "all")
