"""The shapes of the things: each is drawn from a few parts in its own coordinates (u right, v down, half extent 1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from motion import Body
from paint import Canvas, Colour, Frame, capsule, circle, ellipse, heart, length, polygon, rounded_box, scalar, star

WHITE = (0.98, 0.98, 0.96)
DARK = (0.10, 0.10, 0.14)


class Brush:
    """Paints parts of one kind of thing in n clips, lit from above, with a darker rim that sets it off from the scenery."""

    def __init__(self, canvas: Canvas, pose: dict[str, Tensor], colour: Tensor, tint: Tensor) -> None:
        self.canvas, self.pose, self.colour, self.tint = canvas, pose, colour, tint
        x, y = canvas.x - scalar(pose["x"]), canvas.y - scalar(pose["y"])
        r = scalar(pose["r"])
        x, y = x / (r * scalar(pose["sx"])), y / (r * scalar(pose["sy"]))
        self.light = (1.06 - 0.16 * y - 0.06 * x).clamp_(0.78, 1.22)
        c, s = scalar(pose["angle"].cos()), scalar(pose["angle"].sin())
        u, v = (x * c + y * s) * scalar(pose["face"]), y * c - x * s
        self.frame = Frame(u, v, canvas.px / r)
        self.lit = Frame(x, y, canvas.px / r)

    def part(
        self, d: Tensor, colour: Colour, *, rim: float = 0.3, alpha: Tensor | float = 1.0, soft: float = 0.0, glow: bool = False
    ) -> None:
        """Paints a part. `rim` is how much darker its edge is; what glows is neither shaded nor tinted."""
        if not isinstance(colour, Tensor):
            colour = torch.tensor(colour, device=d.device).view(1, 3)
        if glow:
            self.canvas.fill(d, colour, self.frame.px, alpha=alpha, soft=soft)
            return
        shade = self.light * (1 - rim + d * (-rim / 0.16)).clamp_(max=1) if rim else self.light
        self.canvas.fill(d, colour * self.tint, self.frame.px, alpha=alpha, soft=soft, shade=shade)


def draw_ball(b: Brush) -> None:
    u, v = b.frame.u, b.frame.v
    d = length(u, v) - 1
    b.part(d, b.colour, rim=0.42)
    b.part(torch.maximum(d, v.abs() - 0.26), WHITE, rim=0.3)
    b.part(circle(b.lit.u, b.lit.v, -0.36, -0.42, 0.2), WHITE, rim=0, alpha=0.85, soft=0.2)


def draw_box(b: Brush) -> None:
    u, v = b.frame.u, b.frame.v
    d = rounded_box(u, v, 0, 0, 0.86, 0.86, 0.14)
    b.part(d, b.colour)
    b.part(
        torch.maximum(d, torch.minimum(u.abs(), v.abs()) - 0.15),
        b.colour * 0.55 + 0.4 * (1 - b.colour.amax(1, keepdim=True)),
        rim=0,
    )
    b.part(rounded_box(u, v, 0, 0, 0.24, 0.24, 0.12), b.colour * 0.4 + 0.6, rim=0)


def draw_star(b: Brush) -> None:
    u, v = b.frame.u, b.frame.v
    b.part(star(u, v), b.colour, rim=0.36)
    b.part(star(u * 2, v * 2) / 2, b.colour * 0.62 + 0.38, rim=0, soft=0.1)


def draw_heart(b: Brush) -> None:
    b.part(heart(b.frame.u, b.frame.v), b.colour, rim=0.34)
    b.part(capsule(b.frame.u, b.frame.v, -0.55, -0.28, -0.36, -0.46, 0.11), WHITE, rim=0, alpha=0.75, soft=0.1)


def draw_flower(b: Brush) -> None:
    green = (0.16, 0.58, 0.22)
    u, v = b.frame.u, b.frame.v
    b.part(capsule(u, v, 0, 0, 0, -1.3, 0.075), green, rim=0.2)
    b.part(capsule(u, v, 0, -0.3, 0.34, -0.58, 0.12), green, rim=0.25)
    b.part(capsule(u, v, 0, -0.15, -0.34, -0.45, 0.12), green, rim=0.25)
    v = v + 1.42
    a = torch.atan2(u, -v)
    rho = length(u, v)
    b.part((rho - 0.5 - 0.13 * (a * 5).cos()) * 0.85, b.colour, rim=0.4)
    # The middle must differ from the petals: dark in a yellow or white flower is still a flower's eye.
    yellow = ((b.colour[:, 0] > 0.9) & (b.colour[:, 1] > 0.8))[:, None]
    eye = torch.where(yellow, b.colour.new_tensor((0.55, 0.30, 0.10)), b.colour.new_tensor((1.0, 0.84, 0.16)))
    b.part(rho - 0.22, eye, rim=0.25)


def draw_car(b: Brush) -> None:
    u, v = b.frame.u, b.frame.v
    glass = (0.66, 0.88, 0.98)
    b.part(polygon(u, v, (-0.62, -0.02), (-0.44, -0.5), (0.3, -0.5), (0.58, -0.02), r=0.07), b.colour)
    b.part(polygon(u, v, (-0.44, -0.04), (-0.33, -0.38), (-0.1, -0.38), (-0.1, -0.04)), glass, rim=0)
    b.part(polygon(u, v, (0.04, -0.04), (0.04, -0.38), (0.24, -0.38), (0.42, -0.04)), glass, rim=0)
    b.part(rounded_box(u, v, 0, 0.16, 1.0, 0.25, 0.15), b.colour)
    b.part(circle(u, v, 0.9, 0.08, 0.1), (1.0, 0.95, 0.6), rim=0)
    for x in (-0.54, 0.54):
        b.part(circle(u, v, x, 0.38, 0.27), DARK, rim=0)
        wheel = b.frame.turned(x, 0.38, b.pose["phase"])
        hub = length(wheel.u, wheel.v) - 0.15
        b.part(hub, (0.86, 0.86, 0.9), rim=0)
        b.part(torch.maximum(hub, wheel.u.abs() - 0.05), (0.35, 0.35, 0.4), rim=0)


def draw_boat(b: Brush) -> None:
    u, v = b.frame.u, b.frame.v
    b.part(capsule(u, v, -0.02, -1.0, -0.02, 0.2, 0.05), (0.45, 0.28, 0.15), rim=0)
    b.part(polygon(u, v, (0.1, -1.0), (0.78, 0.0), (0.1, 0.0)), b.colour)
    b.part(polygon(u, v, (-0.14, -0.85), (-0.14, 0.0), (-0.66, 0.0)), WHITE)
    b.part(polygon(u, v, (-1.0, 0.1), (1.05, 0.1), (0.68, 0.62), (-0.7, 0.62)), b.colour, rim=0.34)
    b.part(rounded_box(u, v, 0.02, 0.16, 0.96, 0.055, 0.03), WHITE, rim=0)


def draw_rocket(b: Brush) -> None:
    u, v = b.frame.u, b.frame.v
    power = scalar(b.pose["power"])
    flame = power.clamp_min(0.05)
    lit = (power * 8).clamp(0, 1)
    b.part(length(u / 0.3, (v - 0.75) / (0.3 + 0.75 * flame)).sub_(1).mul_(0.3), (1.0, 0.52, 0.08), alpha=lit, soft=0.06, glow=True)
    b.part(
        length(u / 0.17, (v - 0.75) / (0.2 + 0.45 * flame)).sub_(1).mul_(0.17), (1.0, 0.93, 0.45), alpha=lit, soft=0.05, glow=True
    )
    fin = b.colour * 0.3 + 0.42
    b.part(polygon(u, v, (-0.2, 0.15), (-0.2, 0.72), (-0.62, 0.95)), fin)
    b.part(polygon(u, v, (0.2, 0.15), (0.62, 0.95), (0.2, 0.72)), fin)
    body = torch.maximum(length(u.abs() + 0.55, v * 0.72) - 0.98, v - 0.76)
    b.part(body, b.colour, rim=0.36)
    b.part(torch.maximum(body, v + 0.58), WHITE, rim=0.3)
    b.part(circle(u, v, 0, -0.14, 0.23), WHITE, rim=0)
    b.part(circle(u, v, 0, -0.14, 0.16), (0.25, 0.6, 0.9), rim=0)


def draw_balloon(b: Brush) -> None:
    u, v = b.frame.u, b.frame.v
    b.part(((u - 0.07 * (v * 5).sin()).abs() - 0.045).maximum((v - 1.45).abs() - 0.5), (0.92, 0.92, 0.92), rim=0)
    b.part(polygon(u, v, (0, 0.86), (0.16, 1.12), (-0.16, 1.12)), b.colour * 0.8, rim=0)
    b.part(ellipse(u, v, 0, 0, 0.84, 1.0), b.colour, rim=0.4)
    b.part(ellipse(b.lit.u, b.lit.v, -0.3, -0.4, 0.15, 0.24), WHITE, rim=0, alpha=0.8, soft=0.15)


def draw_bird(b: Brush) -> None:
    u, v = b.frame.u, b.frame.v
    lift = scalar(b.pose["phase"].sin())
    b.part(capsule(u, v, 0.1, -0.1, -0.2, -0.1 - 0.75 * lift, 0.2), b.colour * 0.6, rim=0)
    b.part(polygon(u, v, (-0.45, -0.1), (-0.4, 0.2), (-1.05, 0.22), (-1.0, -0.28)), b.colour * 0.8, rim=0.25)
    b.part(ellipse(u, v, 0, 0.05, 0.66, 0.44), b.colour)
    b.part(polygon(u, v, (0.72, -0.36), (1.12, -0.16), (0.72, -0.04)), (1.0, 0.62, 0.08), rim=0)
    b.part(circle(u, v, 0.52, -0.22, 0.35), b.colour)
    b.part(circle(u, v, 0.62, -0.28, 0.13), WHITE, rim=0)
    b.part(circle(u, v, 0.66, -0.27, 0.075), DARK, rim=0)
    b.part(capsule(u, v, 0.0, -0.05, -0.3, -0.05 - 0.85 * lift, 0.22), b.colour * 0.82 + 0.12, rim=0.3)


def draw_butterfly(b: Brush) -> None:
    open_ = scalar(0.42 + 0.58 * (0.5 + 0.5 * b.pose["phase"].sin()))
    side, v = b.frame.u.abs() / open_, b.frame.v
    b.part(ellipse(side, v, 0.42, 0.42, 0.36, 0.42), b.colour * 0.72, rim=0.3)
    b.part(ellipse(side, v, 0.52, -0.32, 0.5, 0.52), b.colour, rim=0.36)
    b.part(circle(side, v, 0.62, -0.38, 0.2), b.colour * 0.35 + 0.65, rim=0)
    b.part(capsule(b.frame.u, v, 0, -0.42, 0, 0.55, 0.1), DARK, rim=0)
    b.part(capsule(b.frame.u.abs(), v, 0.04, -0.5, 0.24, -0.9, 0.045), DARK, rim=0)


def draw_fish(b: Brush) -> None:
    u, v = b.frame.u, b.frame.v
    swing = 0.5 * b.pose["phase"].sin()
    tail = b.frame.turned(-0.62, 0.0, swing)
    b.part(polygon(tail.u, tail.v, (0.12, 0.0), (-0.5, 0.5), (-0.36, 0.0), r=0.03), b.colour * 0.75, rim=0.2)
    b.part(polygon(tail.u, tail.v, (0.12, 0.0), (-0.36, 0.0), (-0.5, -0.5), r=0.03), b.colour * 0.75, rim=0.2)
    b.part(polygon(u, v, (-0.3, -0.36), (0.05, -0.78), (0.42, -0.36)), b.colour * 0.75, rim=0.2)
    body = ellipse(u, v, 0.14, 0, 0.82, 0.52)
    b.part(body, b.colour, rim=0.34)
    b.part(torch.maximum(body, (u + 0.12).abs() - 0.1), b.colour * 0.45 + 0.55, rim=0.3)
    fin = b.frame.turned(0.12, 0.12, 0.8 * swing)
    b.part(ellipse(fin.u, fin.v, -0.16, 0.06, 0.22, 0.13), b.colour * 0.7, rim=0)
    b.part(circle(u, v, 0.58, -0.12, 0.17), WHITE, rim=0)
    b.part(circle(u, v, 0.62, -0.12, 0.09), DARK, rim=0)


def draw_cat(b: Brush) -> None:
    u, v = b.frame.u, b.frame.v
    phase, stride = b.pose["phase"], scalar(b.pose["power"])
    tail = b.frame.turned(-0.55, 0.0, 0.35 * phase.sin())
    b.part(capsule(tail.u, tail.v, 0.05, 0.0, -0.32, -0.28, 0.1), b.colour * 0.85, rim=0)
    b.part(capsule(tail.u, tail.v, -0.32, -0.28, -0.3, -0.7, 0.1), b.colour * 0.85, rim=0)
    swing = scalar(phase.sin()) * stride * 0.2
    for x, way, tone in ((-0.3, -1, 0.62), (0.42, 1, 0.62), (-0.46, 1, 0.9), (0.26, -1, 0.9)):
        b.part(capsule(u, v, x, 0.25, x + way * swing, 0.76, 0.12), b.colour * tone, rim=0.15)
    b.part(ellipse(u, v, -0.08, 0.12, 0.64, 0.36), b.colour)
    b.part(polygon(u, v, (0.26, -0.42), (0.3, -0.94), (0.56, -0.58)), b.colour * 0.85, rim=0)
    b.part(polygon(u, v, (0.6, -0.58), (0.86, -0.94), (0.9, -0.42)), b.colour * 0.85, rim=0)
    b.part(ellipse(u, v, 0.58, -0.3, 0.43, 0.38), b.colour)
    for x in (0.44, 0.76):
        b.part(circle(u, v, x, -0.36, 0.11), WHITE, rim=0)
        b.part(circle(u, v, x + 0.02, -0.35, 0.065), DARK, rim=0)
    b.part(ellipse(u, v, 0.61, -0.16, 0.09, 0.06), (0.98, 0.55, 0.6), rim=0)


@dataclass(frozen=True)
class Shape:
    """A thing's drawing; `middle` and `reach` bound it in its own coordinates, `shadow` is the half width of its shadow, 0 for none."""

    draw: Callable[[Brush], None]
    body: Body
    reach: float = 1.15
    middle: float = 0.0
    shadow: float = 1.0


SHAPES: dict[str, Shape] = {
    "ball": Shape(draw_ball, Body(0.18, 1.0), shadow=0.95),
    "box": Shape(draw_box, Body(0.18, 0.86), reach=1.3, shadow=0.95),
    "star": Shape(draw_star, Body(0.215, 0.86), shadow=0.8),
    "heart": Shape(draw_heart, Body(0.2, 0.84), shadow=0.7),
    "flower": Shape(draw_flower, Body(0.25, 0.0), reach=1.25, middle=-1.05, shadow=0.4),
    "car": Shape(draw_car, Body(0.27, 0.65), reach=1.1),
    "boat": Shape(draw_boat, Body(0.27, 0.4), reach=1.2, shadow=0.0),
    "rocket": Shape(draw_rocket, Body(0.24, 0.95), reach=1.85, middle=0.0, shadow=0.6),
    "balloon": Shape(draw_balloon, Body(0.17, 1.9), reach=2.05, middle=0.3, shadow=0.0),
    "bird": Shape(draw_bird, Body(0.22, 1.0), reach=1.25, shadow=0.0),
    "butterfly": Shape(draw_butterfly, Body(0.2, 1.0), shadow=0.0),
    "fish": Shape(draw_fish, Body(0.24, 1.0), reach=1.2, shadow=0.0),
    "cat": Shape(draw_cat, Body(0.25, 0.88), reach=1.3, shadow=0.75),
}


def draw_shadow(canvas: Canvas, pose: dict[str, Tensor], half_width: float, foot: float, strength: Tensor) -> None:
    """The soft shadow on the ground: smaller and fainter the higher the thing."""
    height = ((pose["ground"] - pose["y"] - foot * pose["r"]) / 0.6).clamp(0, 1)
    r = pose["r"] * half_width * (1 - 0.35 * height)
    x, y = canvas.x - scalar(pose["x"]), canvas.y - scalar(pose["ground"] - 0.004)
    d = (length(x / scalar(r), y / scalar(r * 0.26)) - 1) * 0.5
    canvas.fill(d, (0.03, 0.04, 0.10), canvas.px / scalar(r), soft=0.5, alpha=scalar(strength * (1 - 0.6 * height)))


def draw(canvas: Canvas, thing: str, pose: dict[str, Tensor], colour: Tensor, tint: Tensor, *, shadow: Tensor) -> None:
    """Draws one kind of thing in n clips.

    `pose`: the fields of `motion.Pose` as [n, T]; `colour`, `tint`: [n, 3], the tint being the light of the place; `shadow`: its strength [n, 1].
    """
    shape = SHAPES[thing]
    if shape.shadow and bool((shadow > 0).any()):
        high = float((pose["r"] * shape.shadow).max()) * 1.35
        window = canvas.window(pose["x"], pose["ground"], high)
        draw_shadow(window, pose, shape.shadow, shape.body.foot, shadow)
        window.close()
    y = pose["y"] + shape.middle * pose["r"]
    stretch = torch.maximum(pose["sx"], pose["sy"])
    window = canvas.window(pose["x"], y, float((pose["r"] * stretch).max()) * shape.reach)
    shape.draw(Brush(window, pose, colour, tint))
    window.close()
