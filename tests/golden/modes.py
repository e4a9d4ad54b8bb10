"""What diffusers makes of pictures and clips: modes.safetensors of a case. Called by make_goldens.py; README.md lists the tensors."""

import torch
from diffusers import WanImageToVideoPipeline, WanPipeline, WanVideoToVideoPipeline
from torch import Tensor

from cases import Clip

STRENGTHS = (0.3, 0.6, 1.0)


def footage(clip: Clip) -> Tensor:
    """A smooth moving video of the clip's size, [frames, height, width, 3] bytes."""
    t, y, x = torch.meshgrid(
        torch.linspace(0, 1, clip.frames), torch.linspace(0, 1, clip.height), torch.linspace(0, 1, clip.width), indexing="ij"
    )
    waves = [torch.sin(a * t + b * y + c * x) for a, b, c in ((3, 5, 1), (2, -4, 6), (-4, 1, 7))]
    return ((torch.stack(waves, -1) * 0.45 + 0.5) * 255).round().to(torch.uint8)


def call(clip: Clip, **more) -> dict:
    """The arguments that all pipelines share."""
    return dict(
        prompt=clip.prompt,
        negative_prompt=clip.negative_prompt,
        width=clip.width,
        height=clip.height,
        num_inference_steps=clip.steps,
        guidance_scale=clip.guidance_scale,
        max_sequence_length=clip.max_sequence_length,
        generator=torch.Generator("cpu").manual_seed(clip.seed),
        output_type="latent",
        **more,
    )


def as_video(frames: Tensor) -> Tensor:
    """[frames, height, width, 3] bytes -> [1, frames, 3, height, width] in 0..1"""
    return frames.permute(0, 3, 1, 2)[None].float() / 255


def encoded(pipeline: WanPipeline, frames: Tensor) -> Tensor:
    """Normalised latents [1, C, T, h, w] of frames of bytes."""
    config = pipeline.vae.config
    mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (config.latents_mean, config.latents_std))
    pixels = as_video(frames).transpose(1, 2) * 2 - 1
    return (pipeline.vae.encode(pixels).latent_dist.mode() - mean) / std


def first_frame(pipeline: WanPipeline, clip: Clip, frames: Tensor) -> Tensor:
    """Latents of a clip that begins with a picture, by a model with a timestep a token."""
    parts = {name: getattr(pipeline, name) for name in ("tokenizer", "text_encoder", "vae", "scheduler", "transformer")}
    maker = WanImageToVideoPipeline(**parts, image_encoder=None, image_processor=None, expand_timesteps=True)
    maker.set_progress_bar_config(disable=True)
    return maker(image=as_video(frames[:1])[0], num_frames=clip.frames, **call(clip)).frames[0]


def edited(pipeline: WanPipeline, clip: Clip, frames: Tensor, strength: float) -> Tensor:
    """Latents of a clip changed by its prompt."""
    parts = {name: getattr(pipeline, name) for name in ("tokenizer", "text_encoder", "vae", "scheduler", "transformer")}
    maker = WanVideoToVideoPipeline(**parts)
    maker.set_progress_bar_config(disable=True)
    return maker(video=as_video(frames), strength=strength, **call(clip)).frames[0]


def replaced(pipeline: WanPipeline, clip: Clip, given: Tensor, open_: Tensor, strength: float = 1.0) -> Tensor:
    """Latent replacement, the reference: at every step latents that are given [1, C, T, h, w] are noised as far as the others and put where
    `open_` [T, h, w] is 0; after the last they are put there as they are. Below strength 1 it begins with given latents everywhere."""
    text, negative = pipeline.encode_prompt(
        clip.prompt, clip.negative_prompt, clip.guidance_scale > 1, max_sequence_length=clip.max_sequence_length
    )
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(clip.steps)
    skipped = clip.steps - int(clip.steps * strength)
    noise = torch.randn(given.shape, generator=torch.Generator("cpu").manual_seed(clip.seed))
    x = noise if skipped == 0 else None
    for i, t in enumerate(scheduler.timesteps):
        if i < skipped:
            continue
        sigma = scheduler.sigmas[i]
        noised = (1 - sigma) * given + sigma * noise
        x = noised if x is None else open_ * x + (1 - open_) * noised
        velocity = pipeline.transformer(x, t[None], text, return_dict=False)[0]
        if clip.guidance_scale > 1:
            without = pipeline.transformer(x, t[None], negative, return_dict=False)[0]
            velocity = without + clip.guidance_scale * (velocity - without)
        x = scheduler.step(velocity, t, x, return_dict=False)[0]
    return (open_ * x + (1 - open_) * given)[0]


def distilled(pipeline: WanPipeline, clip: Clip, sigmas: tuple[float, ...]) -> Tensor:
    """Few steps of a distilled model, the reference: to clean latents, and back to the next sigma with fresh noise."""
    text, _ = pipeline.encode_prompt(
        clip.prompt, do_classifier_free_guidance=False, max_sequence_length=clip.max_sequence_length
    )
    generator = torch.Generator("cpu").manual_seed(clip.seed)
    config = pipeline.vae.config
    shape = (1, config.z_dim, (clip.frames - 1) // config.scale_factor_temporal + 1)
    shape += (clip.height // config.scale_factor_spatial, clip.width // config.scale_factor_spatial)
    x = torch.randn(shape, generator=generator)
    for sigma, following in zip(sigmas, (*sigmas[1:], 0.0)):
        clean = x - sigma * pipeline.transformer(x, torch.tensor([sigma * 1000]), text, return_dict=False)[0]
        x = (1 - following) * clean + following * torch.randn(shape, generator=generator) if following else clean
    return x[0]


def modes(pipeline: WanPipeline, clip: Clip) -> dict[str, Tensor]:
    """modes.safetensors."""
    frames = footage(clip)
    if pipeline.config.expand_timesteps:
        # diffusers' WanVideoToVideoPipeline takes every VAE to have a stride of 8 pixels, and fails on this one.
        return {"footage": frames, "first_frame": first_frame(pipeline, clip, frames)}
    found = {"footage": frames} | {f"edit_{s}": edited(pipeline, clip, frames, s) for s in STRENGTHS}
    # Both ends: the frames between are the nearest given one, and the last latent frame is given as a whole.
    middle = torch.arange(clip.frames) * 2 >= clip.frames
    ends = torch.where(middle[:, None, None, None], frames[-1], frames[0])
    given = encoded(pipeline, ends)
    open_ = torch.ones(given.shape[2:])
    open_[0] = open_[-1] = 0
    found["ends"] = replaced(pipeline, clip, given, open_)
    # The left half of the latents is kept.
    open_ = torch.ones(given.shape[2:])
    open_[..., : open_.shape[-1] // 2] = 0
    found["dmd"] = distilled(pipeline, clip, (1.0, 0.757, 0.522))
    found["masked_edit_0.6"] = replaced(pipeline, clip, encoded(pipeline, frames), open_, 0.6)
    return found
