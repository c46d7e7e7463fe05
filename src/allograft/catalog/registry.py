"""Methods by name: one line each, written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from allograft.contracts import Objective, Procedure, Start, Tuning
from allograft.objectives.cct import CCT
from allograft.objectives.cps import CPS
from allograft.objectives.cross_teaching import CrossTeaching
from allograft.objectives.deep_adversarial import DeepAdversarial
from allograft.objectives.entropy_minimisation import EntropyMinimisation
from allograft.objectives.fix_match import FixMatch
from allograft.objectives.gan import GAN
from allograft.objectives.ict import ICT
from allograft.objectives.localisation import Localisation
from allograft.objectives.mean_teacher import MeanTeacher
from allograft.objectives.mixed import Mixed
from allograft.objectives.multi_head import MultiHead
from allograft.objectives.multi_task import MultiTask
from allograft.objectives.r_drop import RDrop
from allograft.objectives.supervised import Supervised
from allograft.objectives.ua_mt import UAMT
from allograft.objectives.urpc import URPC
from allograft.procedures.acquisition.acquisition import Acquisition
from allograft.procedures.acquisition.bald import BALD
from allograft.procedures.acquisition.entropy import Entropy
from allograft.procedures.acquisition.k_centre import KCentre
from allograft.procedures.acquisition.margin import Margin
from allograft.procedures.acquisition.medal import MedAL
from allograft.procedures.acquisition.o_medal import OMedAL
from allograft.procedures.acquisition.random import Random
from allograft.procedures.active_learning import ActiveLearning
from allograft.procedures.billion_scale import BillionScale
from allograft.procedures.continual import Continual
from allograft.procedures.finetune import Finetune
from allograft.procedures.gan_pretrain import GANPretrain
from allograft.procedures.noisy_student import NoisyStudent
from allograft.procedures.pretrain import Pretrain
from allograft.procedures.teacher_student_chain import TeacherStudentChain
from allograft.procedures.ums_rep import UMSRep
from allograft.starts.full import Full
from allograft.starts.gabor import Gabor
from allograft.starts.mean_var import MeanVar
from allograft.starts.partial import Partial
from allograft.starts.scratch import Scratch
from allograft.starts.slim import Slim
from allograft.tunings.bias_only import BiasOnly
from allograft.tunings.bn_only import BNOnly
from allograft.tunings.discriminative import Discriminative
from allograft.tunings.frozen import Frozen
from allograft.tunings.full import FullTuning
from allograft.tunings.gradual import Gradual
from allograft.tunings.l2_sp import L2SP
from allograft.tunings.last_k import LastK
from allograft.tunings.lp_ft import LPFT

__all__ = ["ACQUISITIONS", "KINDS", "NEEDS_NO_SOURCE", "OBJECTIVES", "PROCEDURES", "STARTS", "TUNINGS"]

STARTS: dict[str, type[Start]] = {
    "scratch": Scratch,
    "full": Full,
    "partial": Partial,
    "mean_var": MeanVar,
    "slim": Slim,
    "gabor": Gabor,
}

TUNINGS: dict[str, type[Tuning]] = {
    "full": FullTuning,
    "frozen": Frozen,
    "last_k": LastK,
    "gradual": Gradual,
    "discriminative": Discriminative,
    "lp_ft": LPFT,
    "l2_sp": L2SP,
    "bn_only": BNOnly,
    "bias_only": BiasOnly,
}

OBJECTIVES: dict[str, type[Objective]] = {
    "supervised": Supervised,
    "multi_head": MultiHead,
    "multi_task": MultiTask,
    "localisation": Localisation,
    "gan": GAN,
    "entropy_minimisation": EntropyMinimisation,
    "mean_teacher": MeanTeacher,
    "ua_mt": UAMT,
    "ict": ICT,
    "fix_match": FixMatch,
    "r_drop": RDrop,
    "cps": CPS,
    "cross_teaching": CrossTeaching,
    "deep_adversarial": DeepAdversarial,
    "cct": CCT,
    "urpc": URPC,
    "mixed": Mixed,
}

PROCEDURES: dict[str, type[Procedure]] = {
    "finetune": Finetune,
    "pretrain": Pretrain,
    "continual": Continual,
    "gan_pretrain": GANPretrain,
    "ums_rep": UMSRep,
    "billion_scale": BillionScale,
    "teacher_student_chain": TeacherStudentChain,
    "noisy_student": NoisyStudent,
    "active_learning": ActiveLearning,
}

ACQUISITIONS: dict[str, type[Acquisition]] = {
    "random": Random,
    "entropy": Entropy,
    "margin": Margin,
    "bald": BALD,
    "k_centre": KCentre,
    "medal": MedAL,
    "o_medal": OMedAL,
}

KINDS: dict[str, Mapping[str, type[Any]]] = {
    "start": STARTS,
    "tuning": TUNINGS,
    "objective": OBJECTIVES,
    "procedure": PROCEDURES,
    "acquisition": ACQUISITIONS,
}

NEEDS_NO_SOURCE = frozenset({"scratch", "gabor"})
