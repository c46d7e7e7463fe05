"""Ten crops against torchvision, and predictions that average them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms.functional import ten_crop

from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.infer.forward import predict
from allograft.infer.views import ten_crops
from allograft.testing.tiny import tiny_net
from allograft.testing.training import tiny_task


@pytest.mark.parametrize("size", [(256, 256), (32, 48), (33, 17)])
def test_the_crops_are_torchvisions(size: tuple[int, int]) -> None:
    images = torch.randn(2, 3, *size)
    found = list(ten_crops(images))
    expected = ten_crop(images, list(found[0].shape[2:]))
    assert len(found) == 10
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert found[0].shape[2:] == tuple(round(0.875 * n) for n in size)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_probabilities_are_the_mean_over_the_crops(kind: Any) -> None:
    task: Task = tiny_task(kind)
    net, images, ids = tiny_net(2, outputs=task.outputs), torch.randn(4, 3, 16, 16), ("a", "b", "c", "d")
    groups = dict(zip(ids, ids, strict=True))

    def said(x: torch.Tensor, **settings: Any) -> Any:
        return predict(net, [Batch(image=x, ids=ids)], task, groups=groups, **settings)

    found = said(images, views="ten_crop")
    single = [said(crop).probabilities for crop in ten_crop(images, [14, 14])]
    np.testing.assert_allclose(found.probabilities, np.mean(single, axis=0), atol=1e-5)
    assert not np.allclose(found.probabilities, said(images).probabilities, atol=1e-4)


def test_volumes_are_refused() -> None:
    with pytest.raises(ConfigError, match="2-D images"):
        list(ten_crops(torch.zeros(1, 1, 8, 8, 8)))
