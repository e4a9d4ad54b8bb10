"""Painting with signed distances: a canvas of n clips at once, filled back to front with smooth edges.

Every tensor of distances or coordinates is [n, T, h, w]; T may be 1 where nothing moves. A distance is negative inside a shape and is
measured in the units of its coordinates; `px` is the size of a pixel in the same units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

Colour = Tensor | tuple[float, float, float]

# Pixels that an edge goes over. One would be as sharp as can be, and what a small VAE cannot keep.
EDGE = 1.6


def scalar(values: Tensor) -> Tensor:
    """[n, T] -> [n, T, 1, 1]"""
    return values[..., None, None]


def length(x: Tensor, y: Tensor) -> Tensor:
    return (x * x + y * y).sqrt()


def ellipse(u: Tensor, v: Tensor, cx, cy, rx, ry) -> Tensor:
    """Distance to an ellipse, exact for a circle and good near the edge otherwise."""
    return (length((u - cx) / rx, (v - cy) / ry) - 1) * min(rx, ry)


def circle(u: Tensor, v: Tensor, cx, cy, r) -> Tensor:
    return length(u - cx, v - cy) - r


def rounded_box(u: Tensor, v: Tensor, cx, cy, bx, by, r) -> Tensor:
    """Distance to a box of half sizes bx, by with corners of radius r."""
    x, y = (u - cx).abs_().sub_(bx - r), (v - cy).abs_().sub_(by - r)
    inside = torch.maximum(x, y).clamp_(max=0)
    return length(x.clamp_(min=0), y.clamp_(min=0)).add_(inside).sub_(r)


def capsule(u: Tensor, v: Tensor, ax, ay, bx, by, r) -> Tensor:
    """Distance to the segment a-b made r thick. The ends may be numbers or tensors [n, T, 1, 1]."""
    dx, dy = bx - ax, by - ay
    px, py = u - ax, v - ay
    h = ((px * dx + py * dy) / (dx * dx + dy * dy)).clamp_(0, 1)
    return length(px - h * dx, py - h * dy).sub_(r)


def polygon(u: Tensor, v: Tensor, *corners: tuple[float, float], r: float = 0.0) -> Tensor:
    """Distance to a convex polygon, corners clockwise on the picture, grown by r with sharp corners."""
    d = None
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1]):
        nx, ny = by - ay, ax - bx
        norm = math.hypot(nx, ny)
        side = u * (nx / norm) + (v * (ny / norm) - (ax * nx + ay * ny) / norm)
        d = side if d is None else torch.maximum(d, side)
    return d - r if r else d


def star(u: Tensor, v: Tensor, points: int = 5, outer: float = 1.05, inner: float = 0.5, r: float = 0.05) -> Tensor:
    """Distance to a star with its first point up."""
    step = math.pi / points
    a = torch.atan2(u, -v)
    a = ((a + step).remainder(2 * step) - step).abs()
    rho = length(u, v)
    x, y = rho * a.cos(), rho * a.sin()
    bx, by = inner * math.cos(step), inner * math.sin(step)
    ex, ey = bx - outer, by
    norm = math.hypot(ex, ey)
    return ((x - outer) * (ey / norm) - y * (ex / norm)) - r


def heart(u: Tensor, v: Tensor) -> Tensor:
    """Distance to a heart that fills the unit circle."""
    x = u.abs() * 0.62
    y = 0.52 - v * 0.62
    top = length(x - 0.25, y - 0.75) - math.sqrt(2) / 4
    low = ((x + y) / 2).clamp_min(0)
    rest = torch.minimum(length(x, y - 1), length(x - low, y - low)) * torch.sign(x - y)
    return torch.where(x + y > 1, top, rest) / 0.62


@dataclass
class Frame:
    """A thing's own coordinates: u to its right, v down, the half extent 1."""

    u: Tensor
    v: Tensor
    px: Tensor

    def turned(self, cx: float, cy: float, angle: Tensor) -> Frame:
        """The frame turned about a point of it: a part that moves against the rest. The point becomes the origin."""
        c, s = scalar(angle.cos()), scalar(angle.sin())
        u, v = self.u - cx, self.v - cy
        return Frame(u * c + v * s, v * c - u * s, self.px)


class Canvas:
    """Pictures [3, n, T, h, w], colours first so that each is painted in one piece, with world coordinates x [n, T, 1, w] and y [n, T, h, 1]; px [n, T, 1, 1] is a pixel in world units."""

    def __init__(self, image: Tensor, x: Tensor, y: Tensor, px: Tensor) -> None:
        self.image, self.x, self.y, self.px = image, x, y, px

    @staticmethod
    def blank(n: int, frames: int, size: int, pan: Tensor, zoom: Tensor) -> Canvas:
        """A black canvas seen by a camera: `pan` [n, T] in world units, `zoom` [n, T] about the picture's lower middle."""
        grid = (torch.arange(size, device=pan.device, dtype=torch.float32) + 0.5) / size
        z = scalar(zoom)
        x = (grid.view(1, 1, 1, size) - 0.5) / z + 0.5 + scalar(pan)
        y = (grid.view(1, 1, size, 1) - 0.62) / z + 0.62
        return Canvas(torch.zeros(3, n, frames, size, size, device=pan.device), x, y, 1 / (size * z))

    def shifted(self, dx: Tensor) -> Canvas:
        """The same pictures with the world moved: scenery far away moves less with the camera."""
        return Canvas(self.image, self.x - scalar(dx), self.y, self.px)

    def window(self, x: Tensor, y: Tensor, reach: float) -> Window:
        """The part of the pictures within `reach` (world units) of the points x, y [n, T]: painting there costs only its area."""
        return Window(self, x, y, reach)

    def fill(
        self,
        d: Tensor,
        colour: Colour,
        px: Tensor | None = None,
        *,
        alpha: Tensor | float = 1.0,
        soft: float = 0.0,
        shade: Tensor | None = None,
    ) -> None:
        """Paints where d is negative.

        `px`: a pixel in the units of d (the world's if not given). `soft` widens the edge, in the units of d. `shade` [n, T, h, w] multiplies
        the colour, which is [n, 3] or three numbers; `alpha` is a number or [n, T, 1, 1].
        """
        width = (self.px if px is None else px) * EDGE + soft
        cover = (0.5 - d / width).clamp_(0, 1)
        if not isinstance(alpha, float) or alpha != 1.0:
            cover = cover * alpha
        if not isinstance(colour, Tensor):
            colour = torch.tensor(colour, device=d.device).view(1, 3)
        for c in range(3):
            tone = colour[:, c, None, None, None]
            self.image[c].lerp_((tone if shade is None else tone * shade).expand_as(self.image[c]), cover.expand_as(self.image[c]))


class Window(Canvas):
    """A part of a canvas, moving with a thing; `close` puts it back."""

    def __init__(self, whole: Canvas, x: Tensor, y: Tensor, reach: float) -> None:
        size = whole.image.shape[-1]
        px = whole.px[..., 0, 0]
        side = min(size, math.ceil(2 * reach / float(px.min())) + 1)
        self.whole = whole
        n, frames = whole.image.shape[1:3]

        def span(first: Tensor, centre: Tensor) -> Tensor:
            start = ((centre - first) / px + 0.5 - side / 2).round().long().clamp(0, size - side)
            return start.expand(n, frames)[..., None] + torch.arange(side, device=centre.device)

        columns = span(whole.x[:, :, 0, 0], x)
        rows = span(whole.y[:, :, 0, 0], y)
        pictures = torch.arange(n * frames, device=x.device).view(n, frames, 1, 1)
        self.index = ((pictures * size + rows[:, :, :, None]) * size + columns[:, :, None, :]).flatten()
        first_x, first_y = whole.x[:, :, 0, 0].expand(n, frames), whole.y[:, :, 0, 0].expand(n, frames)
        super().__init__(
            whole.image.view(3, -1)[:, self.index].view(3, n, frames, side, side),
            (first_x[..., None] + columns * px[..., None])[:, :, None, :],
            (first_y[..., None] + rows * px[..., None])[:, :, :, None],
            whole.px,
        )

    def close(self) -> None:
        """Puts the window's pixels back."""
        self.whole.image.view(3, -1)[:, self.index] = self.image.view(3, -1)
