"""Muon: steps of equal strength in every direction, for the weights that are matrices.

A gradient is a matrix whose few strong directions drown many weak ones, and an ordinary step follows the strong ones.
Muon (Jordan et al., 2024, kellerjordan.github.io/posts/muon) replaces the averaged gradient by the nearest matrix with
all singular values 1, so that rare things are learnt as fast as common ones. A convolution's weights count as a matrix
with a row for each output channel. Biases, normalisations, and the first and the last convolution have no such
directions to speak of: AdamW (Loshchilov & Hutter, 2019) moves them.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

# Five steps of this quintic bring every singular value between about 0.001 and 1 to between 0.68 and 1.14; exactly 1
# would take more steps and is not learnt with any better (Jordan et al.).
STEPS, A, B, C = 5, 3.4445, -4.7750, 2.0315
NARROW = 8  # a matrix with no more rows, or columns before the kernel is counted, is left to AdamW


class Muon(torch.optim.Optimizer):
    """Muon for matrices, AdamW for everything else, with one learning rate and one weight decay for both.

    The orthogonal step is scaled so that its entries are as large as AdamW's usually are (Liu et al., 2025), hence the
    common rate. Equal to ``torch.optim.Muon(..., adjust_lr_fn="match_rms_adamw")``, which takes plain matrices only, and
    to ``torch.optim.AdamW``.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0, momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
    ):  # fmt: skip
        parameters = list(parameters)
        matrices = [p for p in parameters if is_matrix(p)]
        rest = [p for p in parameters if not is_matrix(p)]
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "betas": betas, "eps": eps}
        groups = ({"params": matrices, "orthogonal": True}, {"params": rest, "orthogonal": False})
        super().__init__([group for group in groups if group["params"]], defaults)

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            move = self._orthogonal if group["orthogonal"] else self._adam
            for parameter in group["params"]:
                if parameter.grad is not None:
                    move(parameter, group)
        return loss

    def _orthogonal(self, parameter: nn.Parameter, group: dict) -> None:
        state, momentum = self.state[parameter], group["momentum"]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        average = state["momentum"].lerp_(parameter.grad, 1 - momentum)
        ahead = parameter.grad.lerp(average, momentum)  # Nesterov's look ahead
        # (out, in * kernel), or (out, kernel * in) as a channels-last network has it in memory: nothing is copied, and
        # the order of the columns does not matter.
        order = tuple(range(parameter.ndim)) if parameter.is_contiguous() else (0, *range(2, parameter.ndim), 1)
        weights, ahead = parameter.permute(order).view(len(parameter), -1), ahead.permute(order).flatten(1)
        # The step, its size and the decay in one product: each pass over the weights takes time.
        size = 0.2 * max(weights.shape) ** 0.5 * group["lr"]
        weights.addmm_(*_orthogonal_product(ahead), beta=1 - group["lr"] * group["weight_decay"], alpha=-size)

    def _adam(self, parameter: nn.Parameter, group: dict) -> None:
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        count = state["step"].item()
        mean = state["mean"].lerp_(parameter.grad, 1 - beta1) / (1 - beta1**count)
        square = state["square"].lerp_(parameter.grad**2, 1 - beta2) / (1 - beta2**count)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.addcdiv_(mean, square.sqrt() + group["eps"], value=-group["lr"])


def is_matrix(parameter: Tensor) -> bool:
    return parameter.ndim >= 2 and min(parameter.shape[:2]) > NARROW


def orthogonal(matrix: Tensor) -> Tensor:
    """Nearly the orthogonal matrix that is nearest to ``matrix`` (R, C): U V' of its singular value decomposition."""
    left, right = _orthogonal_product(matrix)
    return left @ right


def _orthogonal_product(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Two matrices whose product is :func:`orthogonal`: one is ``matrix`` and the other small and square.

    The Newton-Schulz iteration ``X <- (A + B XX' + C (XX')^2) X`` acts on singular values alone, so it is done on the
    small square XX' instead of on the wide X, and X is multiplied once, at the end.
    """
    x = matrix.float()
    wide = len(x) <= x.shape[1]
    gram = x @ x.T if wide else x.T @ x
    norm = gram.trace().sqrt() + 1e-7  # that of all entries of X: the iteration begins with X / norm
    gram = gram / norm**2
    product = None
    for step in range(STEPS):
        factor = torch.addmm(gram, gram, gram, beta=B, alpha=C)
        factor.diagonal().add_(A)
        product = factor @ product if step else factor / norm
        if step + 1 < STEPS:
            gram = factor @ gram @ factor
    return tuple(part.to(matrix.dtype) for part in ((product, x) if wide else (x, product)))
