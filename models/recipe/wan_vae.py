"""The VAE: its configuration, and forwards over whole clips.

diffusers' AutoencoderKLWan encodes and decodes chunk by chunk with caches. Without caches the same layers see the clip at once, which gives
the same values (to 3e-6) in one differentiable pass. The resampling layers must be told where the first frame is; convolutions and norms are
given cheaper forms, which take a step of training from 180 to 145 ms a clip on two cores.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders import autoencoder_kl_wan as wan
from torch import Tensor, nn
from torch.nn import functional as F

LATENT_CHANNELS = 12

# One kernel for each width and precision, with and without gradients.
torch._dynamo.config.recompile_limit = 64

_chunked_resample = wan.WanResample.forward
_chunked_convolution = wan.WanCausalConv3d.forward
_chunked_block = wan.WanResidualBlock.forward


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


def _convolution(self: wan.WanCausalConv3d, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
    """WanCausalConv3d.forward; without a cache only the time axis is padded by a copy."""
    if cache_x is not None:
        return _chunked_convolution(self, x, cache_x)
    _, right, _, bottom, before, _ = self._padding
    if before:
        x = F.pad(x, (0, 0, 0, 0, before, 0))
    return F.conv3d(x, self.weight, self.bias, self.stride, (0, bottom, right))


@torch.compile(dynamic=True)
def _norm_silu(x: Tensor, gamma: Tensor, scale: float, to: torch.dtype) -> Tensor:
    """WanRMS_norm and SiLU as one kernel: in eager mode they cost more than the convolutions."""
    y = x.float()
    y = y * torch.rsqrt((y * y).sum(1, keepdim=True).clamp_min(1e-24)) * (gamma * scale)
    return F.silu(y).to(to)


def _block(self: wan.WanResidualBlock, x: Tensor, feat_cache: list | None = None, feat_idx: list[int] = [0]) -> Tensor:  # noqa: B006
    """WanResidualBlock.forward; without a cache, norms are fused."""
    if feat_cache is not None:
        return _chunked_block(self, x, feat_cache, feat_idx)
    kind = x.device.type
    to = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    y = self.conv1(_norm_silu(x, self.norm1.gamma, self.norm1.scale, to))
    return self.conv2(_norm_silu(y, self.norm2.gamma, self.norm2.scale, to)) + self.conv_shortcut(x)


wan.WanResample.forward = _resample
wan.WanCausalConv3d.forward = _convolution
wan.WanResidualBlock.forward = _block


def make(base: int = 24, decoder: int = 32) -> AutoencoderKLWan:
    """A residual VAE with random weights: 8 x 8 x 4 pixels and frames to a latent of 12 channels."""
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
    """Mean and log variance [n, 12, 1 + (T-1)/4, S/8, S/8] of a clip [n, 3, T, S, S] in [-1, 1]."""
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
