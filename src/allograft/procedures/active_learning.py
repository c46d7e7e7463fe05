"""Active learning: train, ask for the labels that would help most, train on, until the rounds are over.

Idea      Labels are dear and images are not. A network that is trained on few labels says which unlabelled cases
          it would learn most from; only these are labelled, round by round.
Paper     Smailagic et al. MedAL: accurate and robust deep active learning for medical image analysis. ICMLA
          2018.  arXiv:1809.09287;  online: Smailagic et al. O-MedAL. 2020.  arXiv:1908.10508
Formula   L <- start set;  repeat: w <- train on L;  A <- acquisition(w, U), |A| = per_round;  L <- L + A, U <- U - A
Streams   those of the recipe's objective; "train" are the labelled cases of the round, "unlabelled" the others.
Defaults  rounds = 5 (ours).  per_round = 20 (paper).  start = "random" (ours; the paper's is "orb").
          acquisition = MedAL() (paper).  continue_weights = true (paper).  online = 1 (paper; O-MedAL 0.125 and
          0.875).  oracle = "data" (ours).
Differs   1. All rounds share the recipe's steps, rounds + 1 equal parts, so that a recipe is compared fairly with
          one that trains once. 2. Labels bought before are all known to the acquisition also where online < 1;
          which of them train is drawn once a round, not once an epoch (ours). 3. The "random" start set is the
          run's own labelled cases, every class among them; "orb" takes as many. 4. ORB runs on the stored image
          and, of a volume, on its middle slice (ours).
Checked   tests/reference/test_active_learning.py: rounds, counts and steps with a fake Lab; no case asked twice; all
          labels in the last round; the acquisition decides who is asked; online parts by count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from allograft.contracts import Lab, Method, Started
from allograft.core.errors import ConfigError
from allograft.core.named import Named
from allograft.core.reference import Reference
from allograft.data.cohort import Cohort
from allograft.functional.farthest import farthest
from allograft.functional.orb import orb_descriptor
from allograft.infer.doubt import require_dropout
from allograft.nets.network import Network
from allograft.procedures.acquisition.acquisition import Acquisition
from allograft.procedures.acquisition.asking import facts_of, situation
from allograft.procedures.acquisition.medal import MedAL
from allograft.starts.full import Full

__all__ = ["ActiveLearning"]


class ActiveLearning(Method):
    """Label in rounds what an acquisition asks for.

    Args:
        rounds: how often labels are asked for; fewer where the unlabelled cases run out.
        per_round: cases in a round.
        start: labelled cases of the first training: "random" those of the run, "orb" as many that lie far apart by
            their ORB descriptors, chosen without a network.
        acquisition: random, entropy, margin, bald, k_centre, medal or o_medal.
        continue_weights: whether a round goes on from the last one's network, or begins anew.
        online: share of the formerly labelled cases that a round trains on, beside all new ones.
        oracle: who labels: "data" reveals what the data know, "person" waits for `allograft label`.
    """

    name: ClassVar[str] = "active_learning"
    paper: ClassVar[Reference] = MedAL.paper

    rounds: int = Field(default=5, ge=1)
    per_round: int = Field(default=20, ge=1)
    start: Literal["random", "orb"] = "random"
    acquisition: Annotated[Acquisition, Named("acquisition")] = MedAL()
    continue_weights: bool = True
    online: float = Field(default=1.0, gt=0, le=1)
    oracle: Literal["data", "person"] = "data"

    @model_validator(mode="after")
    def _online_goes_on(self) -> ActiveLearning:
        if self.online < 1 and not self.continue_weights:
            msg = "online below 1 trains on a part of the labels, which needs continue_weights: true"
            raise ValueError(msg)
        return self

    def run(self, lab: Lab) -> Network:
        """Train stages "round-0", "round-1", ...; each one's network is a milestone, the last is returned.

        Raises:
            ConfigError: no case is unlabelled, a person is asked for other labels than classes or masks, or the network
                lacks the dropout that the acquisition needs.
            Pending: a person is asked and has not answered yet.
        """
        labelled, rest = self._begin(lab)
        rounds = min(self.rounds, math.ceil(len(rest) / self.per_round))
        net = self._train(lab, 0, None, (labelled, labelled, rest), rounds)
        for number in range(1, rounds + 1):
            here = situation(lab, net, labelled, rest, seed=lab.seed("doubt", str(number)))
            count, seed = min(self.per_round, len(rest)), lab.seed("acquisition", str(number))
            ids = self.acquisition.pick(here, count, seed)
            new = self._label(lab, ids)
            lab.report(f"round-{number}", facts_of(here, new, labels=len(labelled) + len(new)))
            taught = _joined(_part(labelled, self.online, lab.seed("online", str(number))), new)
            labelled, rest = _joined(labelled, new), rest.subset(set(rest.ids) - set(ids))
            net = self._train(lab, number, net, (labelled, taught, rest), rounds)
        return net

    def _begin(self, lab: Lab) -> tuple[Cohort, Cohort]:
        """Return the labelled cases of the first training and the unlabelled ones."""
        if "unlabelled" not in lab.cohorts:
            msg = "active_learning: every training case is labelled. Name label_counts or label_fractions below 1."
            raise ConfigError(msg)
        if self.oracle == "person" and lab.task.kind not in {"binary", "multiclass", "segmentation"}:
            msg = (
                f"active_learning: oracle: person gives classes or masks, the task is a {lab.task.kind}. "
                "Use oracle: data."
            )
            raise ConfigError(msg)
        train, free = lab.cohorts["train"], lab.cohorts["unlabelled"]
        if self.start == "random":
            return train, free
        every = _joined(train.without_targets(), free)
        every = replace(every, cases=tuple(sorted(every, key=lambda case: case.id)))  # not by who had a label
        points = np.stack([orb_descriptor(picture) for picture in lab.pictures(every)])
        first = int(np.random.default_rng(lab.seed("orb")).integers(len(every)))
        chosen = [first, *_others(points, first, len(train) - 1)]
        ids = {every.ids[i] for i in chosen}
        return self._label(lab, sorted(ids)), every.where(lambda case: case.id not in ids)

    def _label(self, lab: Lab, ids: Sequence[str]) -> Cohort:
        """Return the cases with labels; those of the run's own labelled cases are known."""
        train = lab.cohorts["train"]
        own = set(ids) & set(train.ids)
        asked = [name for name in ids if name not in own]
        known = train.subset(own)
        return _joined(known, lab.label(asked, oracle=self.oracle)) if asked else known

    def _train(
        self, lab: Lab, number: int, last: Network | None, cases: tuple[Cohort, Cohort, Cohort], rounds: int
    ) -> Network:
        labelled, taught, rest = cases
        cohorts = {"train": taught, **({"unlabelled": rest} if len(rest) else {})}
        net = lab.train(f"round-{number}", self._from(lab, last, number), cohorts=cohorts, share=1 / (rounds + 1))
        lab.milestone(f"round-{number}", net, len(labelled))
        return net

    def _from(self, lab: Lab, last: Network | None, number: int) -> Started:
        """Return the recipe's own start, or one that takes over every tensor of the last round's network."""
        if last is None or not self.continue_weights:
            started = lab.start()
            if getattr(self.acquisition, "passes", 0):
                require_dropout(started.net)  # before any training: a rehearsal comes here too
            return started
        move = Full(decoder="copy" if last.decoder is not None else "fresh", heads="copy")
        return lab.start(source=lab.source(last, f"round-{number - 1}"), start=move)


def _joined(one: Cohort, other: Cohort) -> Cohort:
    return replace(one, cases=(*one.cases, *other.cases))


def _part(cohort: Cohort, share: float, seed: int) -> Cohort:
    """Return a drawn share of the cases, all of them for 1."""
    if share == 1:
        return cohort
    drawn = np.random.default_rng(seed).permutation(len(cohort))[: max(1, round(share * len(cohort)))]
    return cohort.subset(cohort.ids[i] for i in drawn)


def _others(points: np.ndarray, first: int, count: int) -> list[int]:
    """Return `count` further points, each with the largest mean distance to those taken before."""
    left = [i for i in range(len(points)) if i != first]
    return [left[i] for i in farthest(points[left], points[[first]], count)]
