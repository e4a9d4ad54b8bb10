"""The VAE: its configuration, and forwards over whole clips.

diffusers' AutoencoderKLWan encodes and decodes chunk by chunk with caches. Without caches the same layers see the clip at once, which gives
the same values (to 3e-6) in one differentiable pass. Only the resampling layers must be told where the first frame is.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders import autoencoder_kl_wan as wan
from torch import Tensor, nn

LATENT_CHANNELS = 8

_chunked_resample = wan.WanResample.forward


def _resample(self: wan.WanResample, x: Tensor, feat_cache: list | None = None, feat_idx: list[int] = [0]) -> Tensor:  # noqa: B006
    """WanResample.forward; without a cache, x [n, c, t, h, w] is a whole clip, whose first frame is not resampled in time."""
    if feat_cache is not None:
        return _chunked_resample(self, x, feat_cache, feat_idx)
    n, c, t, h, w = x.shape
    if self.mode == "upsample3d" and t > 1:
        later = (
            self.time_conv(x[:, :, 1:]).view(n, 2, c, t - 1, h, w).transpose(1, 2).transpose(2, 3).reshape(n, c, 2 * (t - 1), h, w)
        )
        x = torch.cat([x[:, :, :1], later], 2)
    t = x.shape[2]
    x = self.resample(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (n, t)).transpose(1, 2)
    if self.mode == "downsample3d" and t > 1:
        x = torch.cat([x[:, :, :1], self.time_conv(x)], 2)
    return x


wan.WanResample.forward = _resample


def make(base: int = 32, decoder: int = 32) -> AutoencoderKLWan:
    """A residual VAE with random weights: 8 x 8 x 4 pixels and frames to a latent of 8 channels."""
    vae = AutoencoderKLWan(
        base_dim=base,
        decoder_base_dim=decoder,
        z_dim=LATENT_CHANNELS,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        latents_mean=[0.0] * LATENT_CHANNELS,
        latents_std=[1.0] * LATENT_CHANNELS,
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_temporal=4,
        scale_factor_spatial=8,
    )
    with torch.no_grad():
        # With the default initialisation the latents carry too little and the KL term closes them.
        vae.quant_conv.weight[:LATENT_CHANNELS] *= 3
        vae.quant_conv.weight[LATENT_CHANNELS:] *= 0.1
        vae.quant_conv.bias[LATENT_CHANNELS:] = -5.0
    return vae


def channels_last(vae: AutoencoderKLWan) -> AutoencoderKLWan:
    """The layout in which the CPU's convolutions are fast."""
    for module in vae.modules():
        if isinstance(module, nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)
        elif isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
    return vae


def as_input(pictures: Tensor) -> Tensor:
    """[n, T, 3, S, S] in [0, 1] -> [n, 3, T, S, S] in [-1, 1]"""
    return (pictures * 2 - 1).transpose(1, 2).contiguous(memory_format=torch.channels_last_3d)


def as_pictures(x: Tensor) -> Tensor:
    """The inverse of `as_input`, within range."""
    return ((x.float() + 1) / 2).clamp(0, 1).transpose(1, 2)


def encode(vae: AutoencoderKLWan, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log variance [n, 8, 1 + (T-1)/4, S/8, S/8] of a clip [n, 3, T, S, S] in [-1, 1]."""
    moments = vae.quant_conv(vae.encoder(wan.patchify(x, vae.config.patch_size)))
    mean, log_variance = moments.float().chunk(2, 1)
    return mean, log_variance.clamp(-12, 4)


def decode(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """The clip [n, 3, T, S, S] of latents as `encode` gives them; not clamped."""
    return wan.unpatchify(vae.decoder(vae.post_quant_conv(latents), first_chunk=True), vae.config.patch_size).float()


def statistics(vae: AutoencoderKLWan, like: Tensor) -> tuple[Tensor, Tensor]:
    """The config's mean and standard deviation of the latents, [1, 8, 1, 1, 1]."""
    return tuple(
        torch.tensor(v, device=like.device).view(1, -1, 1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std)
    )


def normalised(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """Latents as the transformer sees them."""
    mean, std = statistics(vae, latents)
    return (latents - mean) / std


def denormalised(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    mean, std = statistics(vae, latents)
    return latents * std + mean
