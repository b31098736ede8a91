"""Which of two pictures of a room shows the cat? A linear probe of what the course's network has learnt (Alain and
Bengio, 2016: "Understanding intermediate layers using linear classifier probes").

Two pictures differ where a cat is in either of them, and a network that is trained to find differences finds both. But
its encoder, which looks at one picture, tells a cat's fur from a floor: the difference of its features, weighted and
added up, is the log-odds that the scene rather than the room shows a cat there.
``python -m helpers.upkeep.publish_weights probe --photos FOLDER`` fits those weights.
"""

import functools
import json

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from helpers.dataset import Quartet
from helpers.model import STRIDE, evaluating
from helpers.predict import WEIGHTS, pretrained

FILE = WEIGHTS["photographs"].with_name("probe.json")
SIZE = 96  # pixels of the longer side at which it looks
STAGES = 2  # of the encoder, of whose output it takes the mean: 96 channels at 1/4 of the size
DECAY = 0.01  # of the weights, each in units of its feature's deviation


def cat_evidence(room: np.ndarray, scene: np.ndarray) -> np.ndarray:
    """The log-odds, place by place, that ``scene`` and not ``room`` shows a cat: (h, w) float32, at :data:`SIZE` / 4.

    Both are (H, W, 3) uint8 of one view. The mean over a region is the log-odds for that region.
    """
    net, weights = _shipped()
    scale = SIZE / max(scene.shape[:2]) / STRIDE
    sides = [STRIDE * max(1, round(side * scale)) for side in scene.shape[1::-1]]
    pair = np.stack([cv2.resize(picture, sides, interpolation=cv2.INTER_AREA) for picture in (room, scene)])
    there, here = features(net, torch.from_numpy(pair).permute(0, 3, 1, 2).float() / 255)
    return torch.einsum("c,chw->hw", weights, here - there).numpy()


@functools.cache
def _shipped() -> tuple[nn.Module, Tensor]:
    return pretrained("photographs"), torch.tensor(json.loads(FILE.read_text("utf-8"))["weights"])


def features(net: nn.Module, pictures: Tensor) -> Tensor:
    """What the encoder of a ``DuoNet`` sees in (B, 3, H, W) pictures in [0, 1], each alone: (B, 96, H/4, W/4)."""
    with evaluating(net):
        return nn.Sequential(*net.encoder[:STAGES])(torch.cat(net.look(pictures, pictures), 1))


def differences(net: nn.Module, batch: Quartet) -> Tensor:
    """What is fitted: the mean over each cat of the scene's features less the room's, (B, 96)."""
    there, here = (features(net, batch[key].float() / 255) for key in ("bg", "bg_fg"))
    cat = F.interpolate(batch["mask"], here.shape[-2:], mode="area")
    return ((here - there) * cat).sum((2, 3)) / cat.sum((2, 3)).clamp_min(1e-6)


def fit(differences: Tensor) -> Tensor:
    """Logistic regression without a constant, for swapped pictures have to get the opposite: (N, C) to (C,)."""
    scale = differences.std(0) + 1e-6
    weights = torch.zeros(differences.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=300)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.softplus(-(differences / scale).double() @ weights).mean() + DECAY * weights.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return (weights.detach() / scale).float()

