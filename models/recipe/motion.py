"""How things move: the physics of every motion of the grammar, as a pose for each frame.

Lengths are picture heights with y downwards, times are seconds, angles radians clockwise on the picture. A clip of T frames lasts
(T - 1) / FPS seconds; what crosses the picture does so once in a clip, up to a limit of speed.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, fields

import numpy as np

FPS = 12
GRAVITY = 4.2


@dataclass
class Pose:
    """Where a thing is: every field is an array of one value a frame."""

    x: np.ndarray  # centre
    y: np.ndarray
    r: np.ndarray  # half its extent
    angle: np.ndarray
    sx: np.ndarray  # stretch along the picture's axes: squash and stretch
    sy: np.ndarray
    face: np.ndarray  # 1 looks right, -1 looks left
    phase: np.ndarray  # of wheels, wings, legs and tails
    power: np.ndarray  # of a flame, 0 to 1
    ground: np.ndarray  # height of the ground below it

    @staticmethod
    def names() -> list[str]:
        return [f.name for f in fields(Pose)]


@dataclass(frozen=True)
class Body:
    """What motion must know of a shape: its usual half extent, and how far below its centre it touches the ground, in half extents."""

    radius: float
    foot: float


def ease(t: np.ndarray) -> np.ndarray:
    """Smooth start and stop."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def bounces(t: np.ndarray, drop: float, restitution: float) -> tuple[np.ndarray, np.ndarray]:
    """Height above the ground, and nearness to an impact (1 at it), of a thing let go at height `drop`."""
    height, squash = np.zeros_like(t), np.zeros_like(t)
    fall = math.sqrt(2 * drop / GRAVITY)
    start, speed = -fall, GRAVITY * fall  # as if it had left the ground `fall` seconds ago
    for _ in range(24):
        flight = 2 * speed / GRAVITY
        inside = (t >= start) & (t < start + flight)
        s = t - start
        height = np.where(inside, np.maximum(speed * s - GRAVITY * s * s / 2, 0), height)
        impact = start + flight
        squash = np.maximum(squash, min(1.0, speed / 2) * np.clip(1 - np.abs(t - impact) / 0.09, 0, 1))
        start, speed = impact, speed * restitution
        if speed < 0.08:
            break
    return height, squash


def _crossing(rng: random.Random, t: np.ndarray, side: int) -> np.ndarray:
    """x of a thing that crosses the picture at a steady speed."""
    length = max(0.3, min(0.85, 0.32 * float(t[-1]) if t[-1] > 0 else 0.3)) * rng.uniform(0.88, 1.0)
    return 0.5 + side * length * (t / max(float(t[-1]), 1e-6) - 0.5) + rng.uniform(-0.04, 0.04)


def pose(thing: str, motion: str, place: str, body: Body, frames: int, rng: random.Random) -> Pose:
    """The pose of a thing in every frame. Chance decides sizes, starts and speeds."""
    t = np.arange(frames, dtype=np.float64) / FPS
    u = t / max(float(t[-1]), 1e-6)
    one, zero = np.ones(frames), np.zeros(frames)
    name, _, way = motion.rpartition(" ") if motion.endswith((" left", " right")) else (motion, "", "")
    side = {"right": 1, "left": -1}.get(way) or (1 if rng.random() < 0.5 else -1)
    r = body.radius * rng.uniform(0.92, 1.08)
    ground = rng.uniform(0.83, 0.89)
    foot = r * body.foot
    rest = ground - foot
    x = rng.uniform(0.36, 0.64) * one
    p = Pose(x, rest * one, r * one, zero.copy(), one.copy(), one.copy(), side * one, zero.copy(), zero.copy(), ground * one)

    if name == "bounce":
        height, squash = bounces(t, rng.uniform(0.36, 0.5), 0.82)
        p.y, p.sx, p.sy = rest - height, 1 + 0.16 * squash, 1 - 0.2 * squash
        p.y = p.y + foot * (1 - p.sy)
        if way:
            p.x = _crossing(rng, t, side)
            p.angle = (p.x - p.x[0]) / r * 0.6
        elif thing == "ball":
            p.angle = rng.uniform(-0.5, 0.5) * one
    elif name == "roll":
        p.x = _crossing(rng, t, side)
        p.angle = rng.uniform(0, 6.28) + (p.x - p.x[0]) / r
    elif name == "fall":
        drop = rest + r * rng.uniform(0.2, 0.7)
        height, squash = bounces(t, drop, 0.36)
        p.sx, p.sy = 1 + 0.12 * squash, 1 - 0.15 * squash
        p.y = rest - height + foot * (1 - p.sy)
        if thing == "star":
            p.angle = side * 0.9 * np.clip(height / drop, 0, 1)
    elif name == "rise":
        # Buoyancy against drag: the speed nears its limit within half a second.
        travel = t - 0.5 * (1 - np.exp(-t / 0.5))
        p.y = rng.uniform(0.68, 0.76) - rng.uniform(0.4, 0.5) * travel
        sway = 2 * math.pi * t * 0.45 + rng.uniform(0, 6.28)
        p.x, p.angle = x + 0.035 * np.sin(sway), 0.1 * np.cos(sway)
    elif name == "drift":
        p.x = _crossing(rng, t, side)
        p.y = rng.uniform(0.32, 0.42) + 0.025 * np.sin(2 * math.pi * t * 0.45 + rng.uniform(0, 6.28))
        p.angle = side * 0.1 * one
    elif name == "grow" and thing == "flower":
        p.r = r * (0.3 + 0.75 * ease(u))
    elif name in ("grow", "shrink"):
        scale = 0.42 + 0.98 * ease(u if name == "grow" else 1 - u)
        p.r = r * scale
        p.y = ground - p.r * body.foot if place != "space" else 0.52 * one
    elif name == "spin":
        p.y = np.minimum(rng.uniform(0.5, 0.56), ground - r * 1.2) * one
        turn = rng.uniform(0.2, 0.26) * 2 * math.pi if thing == "box" else rng.uniform(0.3, 0.42) * 2 * math.pi
        p.angle = side * turn * t + rng.uniform(0, 6.28)
        p.r = p.r * 1.1
    elif name == "beat":
        rhythm = np.sin(math.pi * t / 0.8 + rng.uniform(0, 1)) ** 2
        p.y = np.minimum(rng.uniform(0.48, 0.55), ground - r) * one
        p.r = r * (0.95 + 0.3 * rhythm)
    elif name == "jump":
        # Crouch, leap, land, settle.
        start, apex = rng.uniform(0.2, 0.3), rng.uniform(0.3, 0.38)
        flight = 2 * math.sqrt(2 * apex / GRAVITY)
        s = np.clip(t - start, 0, flight)
        crouch = np.clip(1 - np.abs(t - start + 0.12) / 0.2, 0, 1) + np.clip(1 - np.abs(t - start - flight - 0.06) / 0.16, 0, 1)
        speed = math.sqrt(2 * apex * GRAVITY)
        height = speed * s - GRAVITY * s * s / 2
        p.sy = 1 - 0.2 * np.minimum(crouch, 1) + 0.1 * np.clip(height / apex, 0, 1)
        p.sx = 2 - p.sy
        p.y = rest - height + foot * (1 - p.sy)
        p.phase = np.where(height > 0.02, 0.9, 0.0)
    elif name == "drive":
        p.x = _crossing(rng, t, side)
        p.phase = (p.x - p.x[0]) / (r * 0.27) * side
        p.y = rest + 0.006 * np.sin(2 * math.pi * t * 2.2)
    elif name == "walk":
        p.x = _crossing(rng, t, side)
        stride = 2 * math.pi * t * 1.15 + rng.uniform(0, 6.28)
        p.phase = stride
        p.power = one  # the legs swing
        p.y = rest - 0.012 * np.abs(np.sin(stride))
    elif name == "still":
        if thing == "cat":
            p.phase = 2 * math.pi * t * 0.7 + rng.uniform(0, 6.28)
    elif name == "sit":
        p.phase = 2 * math.pi * t * 0.8 + rng.uniform(0, 6.28)
    elif name == "sway":
        p.angle = 0.28 * np.sin(2 * math.pi * t * 0.8 + rng.uniform(0, 6.28))
    elif name in ("sail", "rock"):
        swell = 2 * math.pi * t * 0.75 + rng.uniform(0, 6.28)
        depth = 0.028 if name == "rock" else 0.014
        p.y = 0.6 + depth * np.sin(swell)
        p.angle = (0.2 if name == "rock" else 0.07) * np.cos(swell)
        if name == "sail":
            p.x = _crossing(rng, t, side)
    elif name == "take off":
        lag = np.clip(t - rng.uniform(0.12, 0.22), 0, None)
        p.y = rest - 0.46 * lag**2
        p.power = np.clip(t * 5, 0.35, 1) * (0.88 + 0.12 * np.sin(t * 13))
    elif name == "land":
        left = np.clip(rng.uniform(1.05, 1.2) - t, 0, None)
        p.y = rest - 0.44 * left**2
        p.power = np.clip(left * 4, 0, 1) * (0.88 + 0.12 * np.sin(t * 13))
    elif name == "fly" and thing == "rocket":
        p.x = _crossing(rng, t, side)
        p.y = rng.uniform(0.42, 0.58) - 0.04 * u
        p.angle = side * (math.pi / 2 - 0.12) * one
        p.power = 0.85 + 0.15 * np.sin(t * 13)
    elif name == "fly" and thing == "bird":
        flap = 2 * math.pi * t * 1.45 + rng.uniform(0, 6.28)
        p.x, p.phase = _crossing(rng, t, side), flap
        p.y = rng.uniform(0.34, 0.5) - 0.025 * np.cos(flap)
    elif name in ("fly", "hover"):  # a butterfly
        flap = 2 * math.pi * t * 1.7 + rng.uniform(0, 6.28)
        p.phase = flap
        p.y = rng.uniform(0.4, 0.52) - 0.03 * np.cos(flap) + 0.03 * np.sin(t * 2.6 + rng.uniform(0, 6))
        p.angle = side * 0.2 * one
        if name == "fly":
            p.x = _crossing(rng, t, side)
    elif name == "swim":
        p.x = _crossing(rng, t, side)
        p.y = rng.uniform(0.38, 0.62) + 0.03 * np.sin(t * 3 + rng.uniform(0, 6))
        p.phase = 2 * math.pi * t * 1.4 + rng.uniform(0, 6.28)
    elif name == "leap":
        # A throw from below the water line, the nose along the path.
        over, apex = 1.2, rng.uniform(0.42, 0.5)
        s = (t - rng.uniform(0.05, 0.15)) / over * 2 - 1
        p.y = 0.8 - apex * (1 - s * s)
        p.x = 0.5 + side * 0.26 * s
        p.angle = side * np.arctan2(2 * apex * s, 0.26 * one)
        p.phase = 2 * math.pi * t * 1.6
    else:
        raise ValueError(f"no physics for {thing} {motion}")
    return p
