"""AdaBN: train on the source, then take the statistics of batch norms from the target's images.

Idea      Weights hold what is to be told apart, statistics of normalisation layers how images of a scanner look.
          With the target's statistics each layer's inputs have the place and scale that its weights expect.
Paper     Li, Wang, Shi, Liu, Hou. Revisiting batch normalization for practical domain adaptation. 2016.
          arXiv:1603.04779
Formula   m <- (1 - a) m_source + a m_target,  v <- (1 - a) v_source + a v_target,  a = mix;  m_target and v_target the
          means over batches of a batch's mean and unbiased variance, in a pass over the target's images
Streams   stage "source": the recipe's objective's.  Then the images of "target", by training windows in a
          segmentation, without augmentation; their targets are never read.
Defaults  mix = 1 (paper); less keeps a share of the source's statistics.  passes = 4 (ours), of the paper 1: of a
          segmentation a pass has one window of each case.
Differs   1. Mixed statistics are not the paper's; Schneider et al. (NeurIPS 2020, arXiv:2006.16971) mix with a share
          that follows from the number of images. 2. Statistics are a mean over batches, as PyTorch's cumulative
          average is; one batch of all images gives those of the paper, with the unbiased variance that PyTorch keeps.
          3. They come from the target's training cases; test cases are in no stage.
Checked   tests/reference/test_adabn.py: (1, 2, 3, 4) gives mean 2.5 and variance 1.6667, NumPy's of a whole batch in
          2-D and 3-D; mix 0 is the source's network bit for bit and no weight ever moves; a network without batch
          norm is refused; under a change of contrast the answers come back to those of the source.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from allograft.contracts import Lab, Method
from allograft.core.errors import ConfigError
from allograft.core.reference import Reference
from allograft.nets.batch_norms import batch_norms, blend, statistics
from allograft.nets.network import Network
from allograft.procedures.continuation import target_of

__all__ = ["AdaBN"]


class AdaBN(Method):
    """Train the recipe on the source, then normalise as the target's images ask for.

    Args:
        mix: share a of the target's statistics, in [0, 1]; 0 leaves the source's.
        passes: over the target's images, >= 1.
    """

    name: ClassVar[str] = "adabn"
    paper: ClassVar[Reference] = Reference(
        title="Revisiting Batch Normalization For Practical Domain Adaptation",
        authors=("Li", "Wang", "Shi", "Liu", "Hou"),
        year=2016,
        arxiv="1603.04779",
    )

    mix: float = Field(default=1.0, ge=0, le=1)
    passes: int = Field(default=4, ge=1)

    def run(self, lab: Lab) -> Network:
        """Train one stage called "source" with all steps, measure the statistics, return the network.

        Raises:
            ConfigError: the network has no batch norm, or the study no target domain.
        """
        target, started = target_of(lab, self.name), lab.start()
        if not batch_norms(started.net):
            msg = (
                f'adabn: the network "{lab.net.encoder}" has no batch normalisation with running statistics, so '
                "nothing would change. Take an encoder that has (resnet18, densenet121), or another method."
            )
            raise ConfigError(msg)
        net = lab.train("source", started)
        before = statistics(net)
        lab.restate(net, target, passes=self.passes)
        blend(net, before, self.mix)
        return net
