"""From the user's units to the network's and back, with exact Jacobians.

Statistics are robust (median and interquartile range) and come from all levels' data pooled, so
that a density means the same at every level: the telescoping identity needs that.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

__all__ = ["Standardise", "Support", "Transform", "robust_location_scale"]

_IQR_OF_NORMAL = 1.3489795
# Beyond this many robust standard deviations an output counts as heavy-tailed.
_HEAVY_TAIL = 12.0


def robust_location_scale(x: Tensor) -> tuple[Tensor, Tensor]:
    """Median and IQR / 1.349 of each column of `x`, shape `(n, *event)`; float64.

    A column whose quartiles coincide (discrete, or nearly constant) falls back to its standard
    deviation, and a constant column to scale 1.
    """
    flat = x.double().flatten(1)
    quartiles = torch.quantile(flat, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64), dim=0)
    scale = (quartiles[2] - quartiles[0]) / _IQR_OF_NORMAL
    deviation = flat.std(0, correction=0)
    tiny = 1e-12 + 1e-6 * quartiles[1].abs()
    scale = torch.where(scale > tiny, scale, deviation)
    scale = torch.where(scale > tiny, scale, torch.ones_like(scale))
    return quartiles[1].reshape(x.shape[1:]), scale.reshape(x.shape[1:])


class Transform(nn.Module, ABC):
    """An elementwise bijection between the user's units and the network's."""

    location: Tensor  # its shape is that of one value

    @abstractmethod
    def forward(self, value: Tensor) -> Tensor:
        """Into the network's units, `(n, *event)` to the same shape."""

    @abstractmethod
    def inverse(self, z: Tensor) -> Tensor:
        """Back into the user's units."""

    @abstractmethod
    def log_det(self, value: Tensor) -> Tensor:
        """Log |d forward / d value|, summed over the event, `(n,)`; float64."""


class Standardise(Transform):
    """(x - location) / scale, followed by asinh for the outputs that are heavy-tailed."""

    location: Tensor
    scale: Tensor
    asinh: Tensor

    def __init__(self, location: Tensor, scale: Tensor, asinh: Tensor) -> None:
        """Hold location, scale (float64, `(*event,)`) and asinh (bool, `(*event,)`)."""
        super().__init__()
        self.register_buffer("location", location.double())
        self.register_buffer("scale", scale.double())
        self.register_buffer("asinh", asinh)

    @classmethod
    def fit(cls, x: Tensor, *, tails: str = "auto", shared: bool = False) -> Standardise:
        """Statistics from pooled rows `x`, shape `(n, *event)`.

        Args:
            x: Rows of every level together.
            tails: "asinh" for every output, "linear" for none, "auto" where the data have values
                more than 12 robust standard deviations from the median.
            shared: One location and scale for the whole event, which keeps the relative sizes of
                an image's pixels or a series' points for an embedding net.
        """
        if shared:
            location, scale = robust_location_scale(x.reshape(-1, 1))
            location, scale = location.expand(x.shape[1:]), scale.expand(x.shape[1:])
        else:
            location, scale = robust_location_scale(x)
        extreme = ((x.double() - location) / scale).abs().amax(0) > _HEAVY_TAIL
        choice = {"auto": extreme, "asinh": torch.ones_like(extreme)}
        return cls(location.clone(), scale.clone(), choice.get(tails, torch.zeros_like(extreme)))

    def forward(self, value: Tensor) -> Tensor:
        """Into the network's units, float32."""
        z = (value.double() - self.location) / self.scale
        return torch.where(self.asinh, torch.asinh(z), z).float()

    def inverse(self, z: Tensor) -> Tensor:
        """Back into the user's units, float32."""
        z = z.double()
        return (torch.where(self.asinh, torch.sinh(z), z) * self.scale + self.location).float()

    def log_det(self, value: Tensor) -> Tensor:
        """Log Jacobian determinant, `(n,)`, float64."""
        z = (value.double() - self.location) / self.scale
        bend = torch.where(self.asinh, -0.5 * torch.log1p(z.square()), torch.zeros_like(z))
        return (bend - self.scale.log()).flatten(1).sum(1)


class Support(Transform):
    """theta from the prior's support to all of R^d, so that no posterior mass leaks out.

    Bounded: the normal quantile of the place between the bounds; a uniform prior becomes exactly
    standard normal. Bounded on one side: the log of the distance to the bound, standardised.
    Unbounded: standardised.
    """

    low: Tensor
    high: Tensor
    location: Tensor
    scale: Tensor

    def __init__(self, low: Tensor, high: Tensor, location: Tensor, scale: Tensor) -> None:
        """Hold bounds (float64 `(d,)`, infinite where there is none), location and scale."""
        super().__init__()
        for name, value in (("low", low), ("high", high), ("location", location), ("scale", scale)):
            self.register_buffer(name, value.double())

    @classmethod
    def fit(cls, low: Tensor, high: Tensor, theta: Tensor) -> Support:
        """Bounds from the prior; location and scale, where needed, from pooled `theta` (n, d)."""
        d = low.shape[0]
        raw = cls(low, high, torch.zeros(d), torch.ones(d))._unbend(theta.double())
        location, scale = robust_location_scale(raw)
        both = torch.isfinite(low) & torch.isfinite(high)
        return cls(
            low,
            high,
            torch.where(both, torch.zeros_like(location), location),
            torch.where(both, torch.ones_like(scale), scale),
        )

    def _masks(self) -> tuple[Tensor, Tensor, Tensor]:
        below, above = torch.isfinite(self.low), torch.isfinite(self.high)
        return below & above, below & ~above, above & ~below

    def _place(self, theta: Tensor) -> Tensor:
        """Place between the bounds, kept off 0 and 1 by less than float32 can tell from them."""
        both = self._masks()[0]
        low = torch.where(both, self.low, torch.zeros_like(self.low))
        high = torch.where(both, self.high, torch.ones_like(self.high))
        return ((theta - low) / (high - low)).clamp(1e-9, 1 - 1e-9)

    def _distance(self, theta: Tensor) -> Tensor:
        _, lower, upper = self._masks()
        low = torch.where(lower, self.low, torch.zeros_like(self.low))
        high = torch.where(upper, self.high, torch.zeros_like(self.high))
        away = torch.where(upper, high - theta, theta - low)
        one_sided = lower | upper
        return torch.where(one_sided, away.clamp(min=1e-30), torch.ones_like(away))

    def _unbend(self, theta: Tensor) -> Tensor:
        both, lower, upper = self._masks()
        quantile = torch.special.ndtri(torch.where(both, self._place(theta), 0.5))
        half = torch.where(upper, -self._distance(theta).log(), self._distance(theta).log())
        return torch.where(both, quantile, torch.where(lower | upper, half, theta))

    def forward(self, value: Tensor) -> Tensor:
        """Into the network's units, float32."""
        return ((self._unbend(value.double()) - self.location) / self.scale).float()

    def inverse(self, z: Tensor) -> Tensor:
        """Back into the prior's support, float32, strictly inside its bounds."""
        raw = z.double() * self.scale + self.location
        both, lower, upper = self._masks()
        low = torch.where(torch.isfinite(self.low), self.low, torch.zeros_like(self.low))
        high = torch.where(torch.isfinite(self.high), self.high, torch.ones_like(self.high))
        inside = low + (high - low) * torch.special.ndtr(raw)
        grown = torch.where(lower, low + raw.exp(), high - (-raw).exp())
        theta = torch.where(both, inside, torch.where(lower | upper, grown, raw)).float()
        # float32 may round onto, or just past, a bound: step to the next number inside
        inf = torch.full_like(theta, torch.inf)
        floor = torch.nextafter(self._float(self.low, up=True), inf)
        ceiling = torch.nextafter(self._float(self.high, up=False), -inf)
        return theta.clamp(floor, ceiling)

    @staticmethod
    def _float(bound: Tensor, *, up: bool) -> Tensor:
        """The float32 next to a float64 bound, on the inner side."""
        near = bound.float()
        wrong = near.double() < bound if up else near.double() > bound
        inner = torch.nextafter(near, torch.full_like(near, torch.inf if up else -torch.inf))
        return torch.where(wrong, inner, near)

    def log_det(self, value: Tensor) -> Tensor:
        """Log Jacobian determinant, `(n,)`, float64."""
        theta = value.double()
        both, lower, upper = self._masks()
        quantile = torch.special.ndtri(torch.where(both, self._place(theta), 0.5))
        width = torch.where(both, self.high - self.low, torch.ones_like(self.low))
        bent = 0.5 * quantile.square() + 0.5 * math.log(2 * math.pi) - width.log()
        half = -self._distance(theta).log()
        zero = torch.zeros_like(theta)
        parts = torch.where(both, bent, torch.where(lower | upper, half, zero))
        return (parts - self.scale.log()).sum(1)
