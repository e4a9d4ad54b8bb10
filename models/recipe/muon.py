"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon): momentum, made orthogonal, for matrices and convolution kernels."""

from __future__ import annotations

import torch
from torch import Tensor


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices of [k, rows, columns], roughly, by Newton and Schulz' iteration in bfloat16."""
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT.contiguous() if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Steps of the size that AdamW's would have: 0.2 * sqrt(max(rows, columns)). Kernels count as out x (in * volume) matrices."""

    def __init__(self, params, lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                grad = p.grad.contiguous()
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(grad)
                average = state["momentum"].lerp_(grad, 1 - group["momentum"])
                matrix = grad.lerp(average, group["momentum"]).flatten(1)
                alike.setdefault(tuple(matrix.shape), []).append((p, matrix))
            # Matrices of one shape go together: many small products would leave a GPU waiting.
            for shape, members in alike.items():
                updates = orthogonalise(torch.stack([m for _, m in members]))
                for (p, _), update in zip(members, updates):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(update.view(p.shape), alpha=-group["lr"] * 0.2 * max(shape) ** 0.5)


def optimisers(named, lr: float, weight_decay: float = 0.0, adam_ratio: float = 1.0) -> list[torch.optim.Optimizer]:
    """Muon for the inner matrices and kernels of (name, parameter) pairs, AdamW for embeddings, ends, norms and biases."""
    matrices, rest = [], []
    for name, p in named:
        inner = p.ndim >= 2 and p.shape[0] > 12 and p[0].numel() > 12
        ends = any(
            part in name
            for part in (
                "embed",
                "shared",
                "relative_attention_bias",
                "scale_shift_table",
                "proj_out",
                "time_proj",
                "conv_in",
                "conv_out",
            )
        )
        (matrices if inner and not ends else rest).append(p)
    return [
        Muon(matrices, lr, weight_decay=weight_decay),
        torch.optim.AdamW(rest, lr * adam_ratio, betas=(0.9, 0.99), weight_decay=0.0),
    ]
