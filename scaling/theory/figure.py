"""The random-feature model drawn: three surfaces, each with the third limit lifted, and slices with known powers."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from scaling.style import drawing, theme
from scaling.theory.random_features import RandomFeatures, expected_loss

FROM, TO = {"t": 1e1, "N": 16.0, "P": 16.0}, {"t": 1e6, "N": 16384.0, "P": 16384.0}
HELD_AT = {"t": np.geomspace(1e2, 1e5, 4), "N": np.geomspace(32, 8192, 5)}
TEXT = {"t": "time $t$", "N": "features $N$", "P": "samples $P$"}


def theory_figure(model: RandomFeatures) -> Figure:
    """Above: L(t, N), L(t, P), late L(N, P). Below: slices against t, N and P, the theory's power dashed."""
    with drawing():
        figure = Figure(figsize=(10.5, 6.4), layout="constrained")
        axes = figure.subplots(2, 3)
        surfaces = [_surface(ax, model, *names) for ax, names in zip(axes[0], ("tN", "tP", "NP"), strict=True)]
        levels = np.concatenate([loss.ravel() for _, loss in surfaces])
        norm = LogNorm(levels.min(), np.quantile(levels, 0.99))  # the peak at N = P has no bound
        for mesh, _ in surfaces:
            mesh.set_norm(norm)
        figure.colorbar(surfaces[0][0], ax=axes[0], label="mean test loss", pad=0.01)
        for ax, (along, across, power) in zip(
            axes[1],
            (("t", "N", model.time_exponent), ("N", "t", model.size_exponent), ("P", "t", model.size_exponent)),
            strict=True,
        ):
            _slices(ax, model, along, across, power)
        figure.suptitle(
            f"Random features, $a$ = {model.a:g}, $b$ = {model.b:g}"
            + (f", label noise {model.noise:g}" if model.noise else "")
        )
    return figure


def _span(name: str, count: int) -> Any:
    return np.geomspace(FROM[name], TO[name], count)


def _loss(model: RandomFeatures, **at: Any) -> Any:
    return expected_loss(model, **({"t": np.inf, "N": np.inf, "P": np.inf} | at))


def _surface(ax: Axes, model: RandomFeatures, x: str, y: str) -> tuple[Any, Any]:
    across, up = np.meshgrid(_span(x, 14), _span(y, 14))
    third = ({"t", "N", "P"} - {x, y}).pop()
    late = {"t": TO["t"]} if third == "t" else {}  # at t = inf the loss at N = P is infinite
    loss = _loss(model, **late, **{x: across, y: up})
    mesh = ax.pcolormesh(across, up, loss, cmap=theme().sizes, shading="nearest")
    ax.set(xscale="log", yscale="log", xlabel=TEXT[x], ylabel=TEXT[y])
    ax.set_title(f"{third} = {late[third]:.0e}" if late else f"{third} = $\\infty$", fontsize=9)
    ax.grid(visible=False)
    return mesh, loss


def _slices(ax: Axes, model: RandomFeatures, along: str, across: str, power: float) -> None:
    x, held = _span(along, 25), HELD_AT[across]
    for i, value in enumerate(held):
        loss = _loss(model, **{along: x, across: value})
        ax.plot(x, loss, color=theme().sizes(i / len(held)), lw=1.0, label=f"{across} = {value:.2g}")
    free = _loss(model, **{along: x})
    ax.plot(x, free, color=theme().ink, label=f"{across} = $\\infty$")
    ax.plot(x, 0.8 * free[-1] * (x / x[-1]) ** -power, color=theme().held, ls="--", label=f"slope {-power:.3g}")
    ax.set(xscale="log", yscale="log", xlabel=TEXT[along], ylabel="mean test loss")
    ax.legend(fontsize=6.5, loc="lower left")
