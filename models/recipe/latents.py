"""A pool of encoded clips that is renewed as training goes on: each clip is used a few times, in new words, then replaced."""

from __future__ import annotations

import random
from collections import deque

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

import device
import wan_vae
from render import Stream
from world import Clip, reworded


class LatentPool:
    """Normalised latents of the most recent `capacity` clips of a stream."""

    def __init__(self, vae: AutoencoderKLWan, stream: Stream, capacity: int) -> None:
        self.vae, self.stream, self.capacity = vae, stream, capacity
        self.latents: Tensor | None = None
        self.clips: deque[Clip] = deque(maxlen=capacity)
        self.oldest = 0
        self.rng = random.Random(stream.position)

    @torch.no_grad()
    def renew(self, count: int) -> None:
        """Encodes `count` fresh clips, in the place of the oldest ones once the pool is full."""
        done = 0
        while done < count:
            pictures, clips = next(self.stream)
            with device.mixed(pictures.device):
                mean, _ = wan_vae.encode(self.vae, wan_vae.as_input(pictures))
            fresh = wan_vae.normalised(self.vae, mean)
            done += len(fresh)
            if self.latents is None:
                self.latents = fresh.new_empty(self.capacity, *fresh.shape[1:])
            rows = torch.arange(self.oldest, self.oldest + len(fresh), device=fresh.device) % self.capacity
            self.latents[rows] = fresh
            self.clips.extend(clips)
            self.oldest = (self.oldest + len(fresh)) % self.capacity

    def batch(self, count: int, *, stray: float = 0.06) -> tuple[Tensor, list[str]]:
        """Latents [count, 12, T, h, w] of random clips of the pool, and a caption for each, worded anew."""
        size = len(self.clips)
        ages = [self.rng.randrange(size) for _ in range(count)]
        first = self.oldest if size == self.capacity else 0
        rows = torch.tensor([(first + a) % self.capacity for a in ages], device=self.latents.device)
        return self.latents[rows], [reworded(self.clips[a], self.rng, stray=stray) for a in ages]
