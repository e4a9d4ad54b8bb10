"""The scenery: coarse shapes without fine texture, in the light of the time of day."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import torch
from torch import Tensor

from paint import Canvas, Colour, capsule, circle, length, polygon, rounded_box
from world import OUTDOORS

SKY = {
    "day": ((0.27, 0.58, 0.96), (0.76, 0.91, 1.00)),
    "sunset": ((0.46, 0.30, 0.62), (1.00, 0.66, 0.38)),
    "night": ((0.03, 0.05, 0.18), (0.16, 0.22, 0.46)),
}
# The light on the scenery, and on the things, which keep more of their colour.
LIGHT = {"day": (1.0, 1.0, 1.0), "sunset": (0.98, 0.78, 0.72), "night": (0.38, 0.44, 0.66)}
TINT = {"day": (1.0, 1.0, 1.0), "sunset": (1.0, 0.92, 0.90), "night": (0.80, 0.83, 0.95)}
SUN = {"day": (1.0, 0.90, 0.36), "sunset": (1.0, 0.86, 0.48), "night": (0.95, 0.95, 0.86)}
CLOUD = {"day": (1.0, 1.0, 1.0), "sunset": (1.0, 0.80, 0.72), "night": (0.30, 0.36, 0.58)}
WALLS = ((0.98, 0.86, 0.66), (0.80, 0.90, 0.82), (0.78, 0.86, 0.95), (0.96, 0.82, 0.82))


def layout(rng: random.Random) -> dict[str, float]:
    """What chance decides of a scenery, whichever the place."""
    side = rng.choice((-1, 1))
    return {
        "horizon": rng.uniform(0.58, 0.64),
        "sun_x": 0.5 - side * rng.uniform(0.2, 0.36),
        "sun_y": rng.uniform(0.12, 0.2),
        "cloud_x": rng.uniform(0.1, 0.9),
        "cloud_y": rng.uniform(0.1, 0.24),
        "cloud_gap": rng.uniform(0.38, 0.6),
        "hill": rng.uniform(0, 2 * math.pi),
        "prop_x": 0.5 + side * rng.uniform(0.28, 0.42),
        "wall": float(rng.randrange(len(WALLS))),
        "phase": rng.uniform(0, 2 * math.pi),
    }


class Scene:
    """The scenery of n clips at one place: a canvas, the layout [n], colours by time of day [n, 3], seconds t [1, T, 1, 1]."""

    def __init__(
        self, canvas: Canvas, place: str, times: list[str], layouts: list[dict[str, float]], pan: Tensor, seconds: Tensor
    ) -> None:
        device = canvas.image.device
        self.canvas, self.place, self.pan, self.t = canvas, place, pan, seconds.view(1, -1, 1, 1)
        values = torch.tensor([list(one.values()) for one in layouts], device=device)
        self.layout = {key: values[:, i, None, None, None] for i, key in enumerate(layouts[0])}
        outdoors = place in OUTDOORS
        self.times = times if outdoors else ["day"] * len(times)
        self.light = self.by_time(LIGHT)
        self.night = torch.tensor([float(t == "night") for t in self.times], device=device).view(-1, 1, 1, 1)
        self.low = torch.tensor([float(t == "sunset") for t in self.times], device=device).view(-1, 1, 1, 1)

    def __getitem__(self, key: str) -> Tensor:
        """A value of the layout, [n, 1, 1, 1]."""
        return self.layout[key]

    def by_time(self, table: dict[str, tuple[float, float, float]]) -> Tensor:
        return torch.tensor([table[t] for t in self.times], device=self.canvas.image.device)

    def lit(self, *colour: float) -> Tensor:
        """A colour in the scenery's light, [n, 3]."""
        return self.light.new_tensor(colour) * self.light

    def far(self, share: float) -> Canvas:
        """The canvas for scenery so far away that it moves only by `share` with the camera."""
        return self.canvas.shifted(self.pan * (1 - share))

    def gradient(self, top: Colour, bottom: Colour, start: Tensor | float, end: Tensor | float) -> None:
        """Paints everything below `start` with a colour that changes downwards until `end`."""
        c = self.canvas
        top, bottom = (v if isinstance(v, Tensor) else c.image.new_tensor(v).view(1, 3) for v in (top, bottom))
        share = ((c.y - start) / (end - start)).clamp(0, 1)
        cover = (0.5 + (c.y - start) / c.px).clamp(0, 1)
        for k in range(3):
            tone = top[:, k, None, None, None] + (bottom - top)[:, k, None, None, None] * share
            c.image[k].lerp_(tone.expand_as(c.image[k]), cover.expand_as(c.image[k]))


def _cloud(c: Canvas, x: Tensor, y: Tensor, s: float, colour: Tensor) -> None:
    d = circle(c.x, c.y, x - 0.1 * s, y, 0.055 * s)
    for dx, dy, r in ((0.0, -0.03, 0.08), (0.1, 0.0, 0.06)):
        d = torch.minimum(d, circle(c.x, c.y, x + dx * s, y + dy * s, r * s))
    d = torch.minimum(d, rounded_box(c.x, c.y, x, y + 0.02 * s, 0.15 * s, 0.035 * s, 0.035 * s))
    c.fill(d, colour, alpha=0.95, soft=0.006)


def _sky(s: Scene, clouds: bool = True) -> None:
    c = s.far(0.15)
    top, bottom = (s.by_time({t: v[i] for t, v in SKY.items()}) for i in (0, 1))
    s.gradient(top, bottom, -1.0, -0.99)
    s.gradient(top, bottom, 0.0, s["horizon"])
    y = s["sun_y"] + s.low * (s["horizon"] - 0.12 - s["sun_y"])
    sun = length(c.x - s["sun_x"], c.y - y)
    c.fill((sun - 0.12) * 1.0, s.by_time(SUN), soft=0.16, alpha=0.45)
    c.fill(sun - 0.075, s.by_time(SUN))
    if bool((s.night > 0).any()):
        c.fill(circle(c.x, c.y, s["sun_x"] - 0.035, y - 0.012, 0.062), s.by_time({t: SKY[t][0] for t in SKY}), alpha=s.night)
        for dx, dy in ((0.24, 0.03), (0.47, 0.2), (0.7, 0.05), (0.9, 0.24)):
            c.fill(circle(c.x, c.y, (s["sun_x"] + dx) % 1.0, dy + 0.05, 0.012), (0.95, 0.95, 1.0), alpha=s.night)
    if clouds:
        _cloud(c, s["cloud_x"], s["cloud_y"], 1.0, s.by_time(CLOUD))
        _cloud(c, (s["cloud_x"] + s["cloud_gap"]) % 1.2 - 0.1, s["cloud_y"] + 0.07, 0.8, s.by_time(CLOUD))


def _hills(s: Scene, colour: Colour, height: float, share: float = 0.35) -> None:
    c = s.far(share)
    top = s["horizon"] - height * (0.6 + 0.5 * (c.x * 5 + s["hill"]).sin() + 0.25 * (c.x * 11 + s["hill"] * 2).sin())
    c.fill(top - c.y, colour)


def grass(s: Scene) -> None:
    _sky(s)
    _hills(s, s.lit(0.36, 0.66, 0.42), 0.07)
    s.gradient(s.lit(0.50, 0.80, 0.32), s.lit(0.26, 0.60, 0.20), s["horizon"], 1.0)
    c, x, y = s.far(0.6), s["prop_x"], s["horizon"]
    c.fill(rounded_box(c.x, c.y, x, y - 0.03, 0.022, 0.08, 0.01), s.lit(0.45, 0.30, 0.18))
    crown = torch.minimum(
        circle(c.x, c.y, x, y - 0.2, 0.1),
        torch.minimum(circle(c.x, c.y, x - 0.07, y - 0.13, 0.075), circle(c.x, c.y, x + 0.07, y - 0.13, 0.075)),
    )
    c.fill(crown, s.lit(0.17, 0.48, 0.22))


def beach(s: Scene) -> None:
    _sky(s)
    shore = s["horizon"] + 0.085
    s.gradient(s.lit(0.16, 0.52, 0.80), s.lit(0.30, 0.74, 0.84), s["horizon"], shore)
    c = s.far(0.8)
    wave = shore + 0.012 * (c.x * 14 + s["hill"]).sin()
    c.fill(wave - 0.016 - c.y, s.lit(0.95, 0.98, 1.0))
    c.fill(wave - c.y, s.lit(0.96, 0.86, 0.62))
    x, y = s["prop_x"], s["horizon"] + 0.12
    c.fill(capsule(c.x, c.y, x, y, x + 0.035, y - 0.33, 0.02), s.lit(0.55, 0.38, 0.22))
    for dx, dy in ((-0.15, 0.05), (-0.11, -0.08), (0.1, -0.09), (0.16, 0.04)):
        c.fill(capsule(c.x, c.y, x + 0.035, y - 0.34, x + 0.035 + dx, y - 0.34 + dy, 0.026), s.lit(0.16, 0.54, 0.26))


def snow(s: Scene) -> None:
    _sky(s)
    _hills(s, s.lit(0.74, 0.82, 0.93), 0.1)
    s.gradient(s.lit(0.95, 0.97, 1.0), s.lit(0.82, 0.88, 0.97), s["horizon"], 1.0)
    c, x, y = s.far(0.6), s["prop_x"], s["horizon"]
    c.fill(rounded_box(c.x, c.y, x, y + 0.02, 0.02, 0.05, 0.005), s.lit(0.40, 0.28, 0.18))
    for top, half, low in ((-0.2, 0.12, 0.0), (-0.3, 0.09, -0.12)):
        u, v = c.x - x, c.y - y
        c.fill(polygon(u, v, (0, top), (half, low), (-half, low)), s.lit(0.12, 0.42, 0.32))
    c.fill(polygon(c.x - x, c.y - y, (0, -0.3), (0.045, -0.21), (-0.045, -0.21)), s.lit(0.97, 0.98, 1.0))


def desert(s: Scene) -> None:
    _sky(s, clouds=False)
    _hills(s, s.lit(0.86, 0.58, 0.36), 0.09)
    s.gradient(s.lit(0.98, 0.80, 0.50), s.lit(0.88, 0.64, 0.34), s["horizon"], 1.0)
    c, x, y = s.far(0.7), s["prop_x"], s["horizon"] + 0.06
    green = s.lit(0.18, 0.50, 0.28)
    c.fill(capsule(c.x, c.y, x, y, x, y - 0.28, 0.036), green)
    for way, up in ((-1, 0.1), (1, 0.15)):
        c.fill(capsule(c.x, c.y, x, y - up, x + way * 0.085, y - up, 0.024), green)
        c.fill(capsule(c.x, c.y, x + way * 0.085, y - up, x + way * 0.085, y - up - 0.09, 0.024), green)


def city(s: Scene) -> None:
    _sky(s, clouds=False)
    c = s.far(0.5)
    window = torch.lerp(s.lit(0.72, 0.84, 0.94), s.light.new_tensor((1.0, 0.86, 0.45)).expand_as(s.light), s.night[:, 0, 0])
    tones = ((0.72, 0.52, 0.48), (0.52, 0.56, 0.66), (0.80, 0.68, 0.52), (0.56, 0.64, 0.60), (0.66, 0.54, 0.66))
    shift = (s["hill"] / (2 * math.pi) - 0.5) * 0.2
    for k, (x, half, height) in enumerate(
        ((-0.2, 0.15, 0.34), (0.13, 0.15, 0.46), (0.46, 0.15, 0.3), (0.79, 0.15, 0.44), (1.12, 0.15, 0.32))
    ):
        cx = shift + x
        body = rounded_box(c.x, c.y, cx, s["horizon"] - height / 2, half, height / 2 + 0.05, 0.01)
        c.fill(body, s.lit(*tones[k % len(tones)]))
        pane_x = ((c.x - cx).remainder(0.14) - 0.07).abs() - 0.04
        pane_y = ((c.y - s["horizon"] + height - 0.03).remainder(0.15) - 0.075).abs() - 0.048
        c.fill(torch.maximum(torch.maximum(pane_x, pane_y), body + 0.02), window)
    c = s.canvas
    s.gradient(s.lit(0.76, 0.76, 0.74), s.lit(0.70, 0.70, 0.70), s["horizon"], 0.76)
    s.gradient(s.lit(0.40, 0.41, 0.46), s.lit(0.32, 0.33, 0.38), torch.full_like(s["horizon"], 0.745), 1.0)
    dash = torch.maximum(((c.x * 2.5 + s["hill"]).remainder(1) - 0.5).abs() / 2.5 - 0.1, (c.y - 0.93).abs() - 0.016)
    c.fill(dash, s.lit(0.97, 0.95, 0.80))


def room(s: Scene) -> None:
    c = s.canvas
    wall = c.image.new_tensor(WALLS)[s["wall"].flatten().long()]
    s.gradient(wall, wall * 0.92, -1.0, 0.7)
    floor = s["horizon"] + 0.1
    x = 1 - s["prop_x"]
    inside = s.far(0.9)
    c = inside
    c.fill(rounded_box(c.x, c.y, x, 0.27, 0.15, 0.17, 0.01), (0.99, 0.99, 0.98))
    c.fill(rounded_box(c.x, c.y, x, 0.27, 0.125, 0.145, 0.005), (0.55, 0.80, 0.98))
    c.fill(
        torch.minimum((c.x - x).abs(), (c.y - 0.27).abs() + 0 * c.x).maximum(rounded_box(c.x, c.y, x, 0.27, 0.13, 0.15, 0.005))
        - 0.011,
        (0.99, 0.99, 0.98),
    )
    s.gradient((0.80, 0.58, 0.36), (0.66, 0.44, 0.25), floor, 1.0)
    s.canvas.fill((s.canvas.y - floor).abs() - 0.016, (0.98, 0.97, 0.94))


def sky(s: Scene) -> None:
    s.layout["horizon"] = torch.ones_like(s["horizon"])
    _sky(s, clouds=False)
    c = s.far(0.3)
    for dx, y, size in ((0.0, 0.2, 1.2), (0.45, 0.84, 1.9), (0.75, 0.42, 1.0), (-0.05, 0.7, 1.4)):
        _cloud(c, (s["cloud_x"] + dx) % 1.3 - 0.15, y + 0 * s["cloud_y"], size, s.by_time(CLOUD))


def _wave(s: Scene, level: float, height: float, speed: float, colour: Colour) -> None:
    """A band of water with a rolling edge, like the waves of a toy theatre."""
    c = s.canvas
    a = c.x * (2 * math.pi * 2) + s["phase"] + speed * s.t
    top = level + height * a.sin()
    c.fill(top - c.y, s.lit(0.86, 0.96, 1.0))
    c.fill(top + 0.018 - c.y, colour)


def sea(s: Scene) -> None:
    s.layout["horizon"] = torch.full_like(s["horizon"], 0.52)
    _sky(s)
    s.gradient(s.lit(0.20, 0.56, 0.84), s.lit(0.14, 0.46, 0.78), s["horizon"], 0.66)
    _wave(s, 0.62, 0.016, 1.6, s.lit(0.15, 0.48, 0.80))


def sea_front(s: Scene) -> None:
    """The waves in front of what floats on the water."""
    _wave(s, 0.735, 0.02, -2.0, s.lit(0.10, 0.40, 0.74))
    _wave(s, 0.88, 0.022, 2.2, s.lit(0.06, 0.31, 0.64))


def underwater(s: Scene) -> None:
    s.gradient((0.20, 0.66, 0.88), (0.04, 0.26, 0.56), -0.1, 1.0)
    c = s.canvas
    ground = 0.88 + 0.025 * (c.x * 6 + s["hill"]).sin()
    c.fill(ground - c.y, (0.80, 0.72, 0.52))
    for k, dx in enumerate((0.0, 0.1, 0.62)):
        x = (s["prop_x"] + dx) % 1.0
        bend = 0.03 * (s.t * 2.2 + s["phase"] + k).sin()
        c.fill(capsule(c.x, c.y, x, 0.95, x + 0.5 * bend, 0.78, 0.03), (0.10, 0.50, 0.32))
        c.fill(capsule(c.x, c.y, x + 0.5 * bend, 0.78, x + 2 * bend, 0.62 + 0.05 * k, 0.026), (0.12, 0.56, 0.36))
    for k in range(3):
        x = (s["cloud_x"] + 0.37 * k) % 1.0
        y = 1.1 - (0.24 * s.t + s["phase"] / 6.2832 * 1.2 + 0.4 * k).remainder(1.2)
        ring = length(c.x - x - 0.012 * (s.t * 4 + k).sin(), c.y - y)
        c.fill(ring - 0.036, (0.62, 0.88, 0.98), alpha=0.55)
        c.fill(length(c.x - x + 0.012, c.y - y + 0.012) - 0.013, (1.0, 1.0, 1.0), alpha=0.9)


def space(s: Scene) -> None:
    s.gradient((0.03, 0.02, 0.12), (0.10, 0.05, 0.24), 0.0, 1.0)
    c = s.far(0.2)
    for k in range(8):
        x, y = (s["cloud_x"] + 0.381966 * k) % 1.0, (s["cloud_gap"] * 3 + 0.27 * k) % 1.0
        c.fill(circle(c.x, c.y, x, y, 0.013 + 0.006 * (k % 2)), (0.95, 0.95, 1.0))
    x, y = 1 - s["prop_x"], s["sun_y"] + 0.04
    planet = c.image.new_tensor(((0.93, 0.62, 0.38), (0.42, 0.72, 0.76), (0.88, 0.52, 0.62), (0.66, 0.62, 0.90)))[
        s["wall"].flatten().long()
    ]
    shade = (1.0 - 2.6 * (c.x - x) + 1.6 * (y - c.y)).clamp(0.45, 1.15)
    c.fill(circle(c.x, c.y, x, y, 0.1), planet, shade=shade)
    ring = (length((c.x - x) * 0.62, (c.y - y) * 2.2 + (c.x - x) * 0.5) - 0.1).abs() - 0.014
    c.fill(torch.where(c.y > y - 0.25 * (c.x - x), ring, ring.new_tensor(1.0)), (0.95, 0.86, 0.70))


BACK: dict[str, Callable[[Scene], None]] = {
    "grass": grass,
    "beach": beach,
    "snow": snow,
    "desert": desert,
    "city": city,
    "room": room,
    "sky": sky,
    "sea": sea,
    "underwater": underwater,
    "space": space,
}
FRONT: dict[str, Callable[[Scene], None]] = {"sea": sea_front}
# Places that move by themselves, camera or not.
ALIVE = ("sea", "underwater")


def tint(place: str, time: str) -> tuple[float, float, float]:
    """The light on the things at a place."""
    if place in OUTDOORS:
        return TINT[time]
    return (0.88, 0.96, 1.0) if place == "underwater" else (1.0, 1.0, 1.0)
