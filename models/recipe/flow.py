"""Flow matching with a timestep for every latent frame: one model makes clips from text, from a first frame, from a beginning, and between ends.

x_t = (1 - sigma) x + sigma * noise and the model gives noise - x (Lipman et al. 2022, https://arxiv.org/abs/2210.02747). A frame that is given
has sigma 0 and stays as it is, as in Wan 2.2 TI2V (diffusers: `expand_timesteps`).
"""

from __future__ import annotations

import torch
from diffusers import UniPCMultistepScheduler, WanTransformer3DModel
from torch import Tensor

import wan_transformer

SHIFT = 2.0
TASK_SHARES = {"text": 0.55, "first frame": 0.20, "beginning": 0.15, "both ends": 0.10}


def given_frames(n: int, frames: int, on: torch.device) -> Tensor:
    """Which latent frames [n, frames] are given, for a mix of the tasks."""
    task = torch.multinomial(torch.tensor(list(TASK_SHARES.values()), device=on), n, replacement=True)[:, None]
    index = torch.arange(frames, device=on).expand(n, -1)
    many = torch.randint(2, max(3, frames - 1), (n, 1), device=on)
    first, last = index == 0, index == frames - 1
    return ((task == 1) & first) | ((task == 2) & (index < many)) | ((task == 3) & (first | last))


def draw_sigmas(n: int, on: torch.device) -> Tensor:
    """Noise levels [n] to train on: logit-normal(0, 1.2), a fifth uniform, shifted."""
    u = torch.where(torch.rand(n, device=on) < 0.2, torch.rand(n, device=on), torch.sigmoid(torch.randn(n, device=on) * 1.2))
    return SHIFT * u / (1 + (SHIFT - 1) * u)


def velocity(model: WanTransformer3DModel, x: Tensor, sigmas: Tensor, prompt: Tensor) -> Tensor:
    """What the model says of latents x [n, 12, T, h, w] at noise levels [n, T], in 32 bit."""
    return wan_transformer.forward(model, x, sigmas * 1000, prompt)


def noised(x: Tensor, noise: Tensor, sigmas: Tensor) -> Tensor:
    s = sigmas[:, None, :, None, None]
    return (1 - s) * x + s * noise


def masked_error(a: Tensor, b: Tensor, given: Tensor) -> Tensor:
    """Mean square difference [n] over the frames that are not given."""
    open_ = (~given)[:, None, :, None, None].float()
    return ((a - b) ** 2 * open_).mean((1, 3, 4)).sum(1) / open_.mean((1, 3, 4)).sum(1)


def loss(model: WanTransformer3DModel, x: Tensor, prompt: Tensor, sigmas: Tensor, given: Tensor) -> Tensor:
    """Flow matching loss [n] of clean, normalised latents x at noise levels sigmas [n] with frames given [n, T]."""
    noise = torch.randn_like(x)
    levels = sigmas[:, None] * ~given
    return masked_error(velocity(model, noised(x, noise, levels), levels, prompt), noise - x, given)


def scheduler(steps: int, *, few: bool = False) -> UniPCMultistepScheduler:
    """UniPC as the exported model runs it; `few` is its first order without corrector, the plain steps of a few-step student."""
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        num_train_timesteps=1000,
        flow_shift=SHIFT,
        solver_order=1 if few else 2,
        disable_corrector=list(range(steps)) if few else [],
    )


@torch.no_grad()
def sample(
    model: WanTransformer3DModel,
    prompt: Tensor,
    empty: Tensor,
    noise: Tensor,
    *,
    steps: int,
    guidance: float,
    clean: Tensor | None = None,
    given: Tensor | None = None,
    few: bool = False,
) -> Tensor:
    """Latents [n, 12, T, h, w] from noise and encoded prompts, as diffusers' WanPipeline makes them with `expand_timesteps`.

    `clean` latents are taken where `given` [n, T] says so; `empty` is the encoding of the empty prompt, for guidance above 1.
    """
    solver = scheduler(steps, few=few)
    solver.set_timesteps(steps, device=noise.device)
    n, _, frames = noise.shape[:3]
    open_ = torch.ones(n, frames, device=noise.device) if given is None else (~given).float()
    mask = open_[:, None, :, None, None]
    x = noise
    for t in solver.timesteps:
        seen = x if clean is None else mask * x + (1 - mask) * clean
        levels = open_ * (t / 1000)
        v = velocity(model, seen, levels, prompt)
        if guidance > 1:
            v_empty = velocity(model, seen, levels, empty.expand_as(prompt))
            v = v_empty + guidance * (v - v_empty)
        x = solver.step(v, t, x, return_dict=False)[0]
    return x if clean is None else mask * x + (1 - mask) * clean
