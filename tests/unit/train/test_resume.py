"""A run goes on from any step as if it had never stopped, or refuses. Synthetic data."""

from __future__ import annotations

import pytest
import torch
from loop_material import FROZEN, Adversary, Scores, differing, noisy_net, run, streams, tensors, training

from allograft.core.errors import ResumeError
from allograft.testing.tiny import tiny_net
from allograft.train.training import Training


class KilledError(Exception):
    pass


class Dying:
    def __init__(self, step):
        self.step = step

    def at(self, step):
        if step == self.step:
            raise KilledError
        return streams().at(step)


def two_players(kill=None, where=None):
    net, criterion = noisy_net(), Adversary()
    how = training(net, {"stage1": ((0, 0.0), (3, 1.0)), "stem": ((0, 0.5), (4, 0.0))}, steps=7, evals=3, save_every=1)
    history = run(net, how, criterion=criterion, data=Dying(kill) if kill else None, where=where, validate=Scores())
    return history, {**tensors(net), **tensors(criterion)}


@pytest.mark.parametrize("kill", range(1, 7))
def test_resumed_from_any_step_equals_uninterrupted(kill, tmp_path):
    torch.manual_seed(0)
    with torch.random.fork_rng():
        history, whole = two_players()
    torch.manual_seed(0)
    with torch.random.fork_rng(), pytest.raises(KilledError):
        two_players(kill, tmp_path)
    torch.manual_seed(0)
    with torch.random.fork_rng():
        again, resumed = two_players(None, tmp_path)
    assert again == history
    assert not differing(whole, resumed)


def test_resume_between_checkpoints_repeats_the_steps_since(tmp_path):
    def go(data, where):
        net = noisy_net()
        history = run(net, training(net, steps=9, evals=2, save_every=4), data=data, where=where, validate=Scores())
        return history, tensors(net)

    history, whole = go(None, None)
    with pytest.raises(KilledError):
        go(Dying(7), tmp_path)
    again, resumed = go(None, tmp_path)
    assert again == history
    assert not differing(whole, resumed)


def test_a_finished_run_returns_at_once(tmp_path):
    net, again = tiny_net(2, outputs=3), tiny_net(2, outputs=3)
    history = run(net, training(net), where=tmp_path, validate=Scores([0.9, 0.1]))
    assert run(again, training(again), where=tmp_path, data=Dying(0), validate=Scores([None])) == history
    assert not differing(net.state_dict(), again.state_dict())


def test_a_folder_of_another_training_is_refused(tmp_path):
    net = tiny_net(2, outputs=3)
    run(net, training(net), where=tmp_path)
    with pytest.raises(ResumeError, match=r"optim.lr: there 0.01, now 0.5"):
        run(net, training(net, lr=0.5), where=tmp_path)
    with pytest.raises(ResumeError, match="plan net"):
        run(net, training(net, {"stem": FROZEN}), where=tmp_path)


def test_a_broken_checkpoint_is_an_error_not_a_fresh_start(tmp_path):
    net = tiny_net(2, outputs=3)
    run(net, training(net), where=tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ResumeError, match="cannot be read"):
        run(net, training(net), where=tmp_path)


def test_only_the_best_weights_and_the_last_checkpoint_stay(tmp_path):
    net = tiny_net(2, outputs=3)
    (tmp_path / ".checkpoint.safetensors.half").write_bytes(b"left by a killed process")
    run(net, training(net, steps=6, evals=3), where=tmp_path, validate=Scores([0.1, 0.9, 0.3]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best-4.safetensors", "checkpoint.safetensors"]


def test_the_callers_random_state_and_threads_are_left_alone():
    net = noisy_net()
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    run(net, training(net))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_seed_decides_the_noise():
    def after(seed, state):
        net = noisy_net()
        torch.manual_seed(state)
        how = training(net)
        run(net, Training(plans=how.plans, optim=how.optim, budget=how.budget, seed=seed))
        return tensors(net)

    assert not differing(after(0, 1), after(0, 2))
    assert differing(after(0, 1), after(1, 1))
