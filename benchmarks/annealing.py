"""How well laws of whole curves predict schedules that they were not fitted to, what bands cover, what a fit costs.

    SCALING_DATASETS=FOLDER OMP_NUM_THREADS=1 python benchmarks/annealing.py [--only PART ..]

Root mean squared errors of the loss, times 1000, are averaged over held-out curves, then over models or peak rates.
`new` counts only rows after a curve parts from all curves of the set. `published` is Luo 2025's own fit: its
parameters, with the warm-up's rises counted, as its code does. docs/annealing.md reads these tables.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from public_curves import LUO_TRAIN, PEAKS, Array, Curve, haegele, luo, rmse, table_of

import scaling
from scaling.fitting import Fit
from scaling.law import Law
from scaling.laws import LAWS
from scaling.trajectory import whole

MODELS = ("25M", "100M")
EVERY = ("area_power", "tissue", "mpl", "mpl_tied", "fsl", "ncl")
Predict = Callable[[Curve], Array]


def fitted(law: str | Law, curves: Sequence[Curve]) -> Predict:
    found = scaling.fit(law, table_of(curves))
    return lambda curve: found.predict(schedule=curve.path)


def published(model: str) -> Predict:
    law = LAWS["mpl_rises"]
    return lambda curve: np.asarray(law(curve.path, **law.published[f"luo2025_{model}"]))


def errors(predict: Predict, curves: Sequence[Curve], new: bool = False) -> list[float]:
    """RMSE of every curve, times 1000; over its new rows alone if asked."""
    off = [((predict(c) - c.loss)[c.new if new else slice(None)]) for c in curves]
    return [1e3 * rmse(e) for e in off if len(e)]


def mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def accuracy() -> None:
    print("\nLuo 2025's split: three curves fitted, six held out; loss errors x 1e-3")
    print(
        f"{'model':5} {'law':12} {'R2':>8} {'MAE':>6} {'RMSE':>6} {'PredE %':>8} {'WorstE %':>9} {'new':>6} "
        f"{'final':>6}"
    )
    for model in MODELS:
        curves = luo(model)
        train = [curves[name] for name in LUO_TRAIN]
        held = [c for name, c in curves.items() if name not in LUO_TRAIN]
        for law in ("published", *EVERY):
            predict = published(model) if law == "published" else fitted(law, train)
            rows = []
            for c in held:
                e = predict(c) - c.loss
                r2 = 1 - (e @ e) / ((c.loss - c.loss.mean()) ** 2).sum()
                share = np.abs(e) / c.loss
                rows.append((r2, 1e3 * np.abs(e).mean(), 1e3 * rmse(e), 100 * share.mean(), 100 * share.max(),
                             1e3 * rmse(e[c.new]), 1e3 * abs(e[-1])))  # fmt: skip
            r2, mae, rms, pred, worst, new, final = np.mean(rows, axis=0)
            print(
                f"{model:5} {law:12} {r2:8.5f} {mae:6.2f} {rms:6.2f} {pred:8.3f} {worst:9.3f} {new:6.2f} {final:6.2f}"
            )


def few() -> None:
    print("\nFew curves, longer horizons: held-out RMSE x 1e-3, mean over 25M and 100M")
    laws = ("tissue", "mpl_tied", "mpl", "ncl")
    print(f"{'fitted -> held out':42}" + "".join(f"{law:>9}" for law in laws))
    sets: list[tuple[str, tuple[str, ...], bool]] = [
        ("cosine 24k -> 8 others", ("cosine_24000",), False),
        ("constant 24k -> 8 others", ("constant_24000",), False),
        ("two-stage (9e-5) -> 8 others", ("wsdcon_9",), False),
        ("wsd -> 8 others", ("wsd_20000_24000",), False),
        ("cosine, constant 24k -> 7 others", ("cosine_24000", "constant_24000"), False),
        ("constant 24k, two-stage -> 7 others", ("constant_24000", "wsdcon_9"), False),
        ("cosine 24k, wsd -> 7 others", ("cosine_24000", "wsd_20000_24000"), False),
        ("Luo's three -> steps 24k to 72k", LUO_TRAIN, True),
    ]
    for title, names, tail in sets:
        line = []
        for law in laws:
            each = []
            for model in MODELS:
                curves = luo(model)
                held = [c for name, c in curves.items() if name not in names]
                if tail:
                    held = [c.part(c.steps > 24_000) for c in held if c.steps[-1] > 24_000]
                each.append(mean(errors(fitted(law, [curves[n] for n in names]), held)))
            line.append(mean(each))
        print(f"{title:42}" + "".join(f"{x:9.1f}" for x in line))


def _short(curves: dict[str, Curve]) -> Curve:
    return curves["constant"].part(curves["constant"].steps <= 25_000)


def _others(curves: dict[str, Curve], fitted: Sequence[str]) -> list[Curve]:
    rest = [c for name, c in curves.items() if name not in (*fitted, "constant")]
    return [*rest, curves["constant"].part(curves["constant"].steps > 25_000)]


def by_peaks() -> None:
    print("\nHaegele 2024, 124M, each of four peak rates (1e-4 to 2e-3): runs of 25k steps fitted, all others held out")
    laws = ("tissue", "mpl_tied", "mpl", "ncl")
    print(f"{'fitted':42}" + "".join(f"{law:>9}{'worst':>7}" for law in laws))
    for title, names in (
        ("cosine to 0, constant, wsd 20%", ("cos0_25000", "constant", "wsd20_linear_25000")),
        ("cosine to 0, constant", ("cos0_25000", "constant")),
        ("cosine to 0", ("cos0_25000",)),
        ("wsd 20%", ("wsd20_linear_25000",)),
    ):
        line = []
        for law in laws:
            each, worst = [], []
            for peak in PEAKS:
                curves = haegele(peak)
                train = [_short(curves) if n == "constant" else curves[n] for n in names]
                off = errors(fitted(law, train), _others(curves, names))
                each.append(mean(off))
                worst.append(max(off))
            line += [mean(each), mean(worst)]
        print(f"{title:42}" + "".join(f"{a:9.1f}{b:7.1f}" for a, b in zip(line[::2], line[1::2], strict=True)))
    print("\nSeveral peak rates in one fit: constant (25k) and cosine to 0 (25k) at two peaks")
    laws = ("tissue", "mpl_rises", "ncl")
    print(f"{'peaks fitted -> held out':42}" + "".join(f"{law:>10}" for law in laws))
    pairs = {law: {} for law in laws}
    for peaks in ((5e-4, 1e-3), (1e-4, 2e-3)):
        train = [c for p in peaks for c in (_short(haegele(p)), haegele(p)["cos0_25000"])]
        for law in laws:
            pairs[law][peaks] = fitted(law, train)
    long = [c for p in (5e-4, 1e-3) for n, c in haegele(p).items() if n.endswith(("35000", "50000"))]
    for title, peaks, held in (
        ("5e-4, 1e-3 -> the same, 35k and 50k", (5e-4, 1e-3), long),
        ("5e-4, 1e-3 -> 2e-3 (x 2 above)", (5e-4, 1e-3), list(haegele(2e-3).values())),
        ("5e-4, 1e-3 -> 1e-4 (x .2 below)", (5e-4, 1e-3), list(haegele(1e-4).values())),
        ("1e-4, 2e-3 -> 5e-4, 1e-3", (1e-4, 2e-3), [c for p in (5e-4, 1e-3) for c in haegele(p).values()]),
    ):
        print(f"{title:42}" + "".join(f"{mean(errors(pairs[law][peaks], held)):10.1f}" for law in laws))


def bands() -> None:
    print("\nCoverage of nominal 90% bands on new rows, per curve, then averaged; half-width x 1e-3")
    print(f"{'set':34}{'law':10}{'jackknife':>10}{'width':>7}{'final':>7}{'Hessian':>9}")
    sets = [(f"Luo {m}, 3 curves -> 6", [luo(m)[n] for n in LUO_TRAIN],
             [c for n, c in luo(m).items() if n not in LUO_TRAIN]) for m in MODELS]  # fmt: skip
    names = ("cos0_25000", "constant", "wsd20_linear_25000")
    for peak in PEAKS:
        curves = haegele(peak)
        train = [_short(curves) if n == "constant" else curves[n] for n in names]
        sets.append((f"Haegele, peak {peak:g}, 3 -> all others", train, _others(curves, names)))
    total: dict[str, list[float]] = {}
    for title, train, held in sets:
        for law in ("tissue", "mpl_tied", "ncl"):
            fit = scaling.fit(law, table_of(train))
            draws = scaling.bootstrap(fit)
            inside, width, final, plain = [], [], [], []
            for c in held:
                if not c.new.any():
                    continue
                band = scaling.forecast(draws, schedule=c.path)
                lo, hi = band["lo"].to_numpy(), band["hi"].to_numpy()
                within = (lo <= c.loss) & (c.loss <= hi)
                inside.append(within[c.new].mean())
                final.append(within[-1])
                width.append(0.5 * (hi - lo)[c.new].mean())
                plain.append((np.abs(fit.predict(schedule=c.path) - c.loss) <= 1.645 * _hessian(fit, c))[c.new].mean())
            total.setdefault(law, []).append(mean(inside))
            print(f"{title:34}{law:10}{mean(inside):10.2f}{1e3 * mean(width):7.1f}{mean(final):7.2f}{mean(plain):9.2f}")
    for law, values in total.items():
        print(f"{'mean over sets':34}{law:10}{mean(values):10.2f}")


def alone() -> None:
    print("\nCoverage of nominal 90% bands of ncl's priors, one or two curves fitted, new rows; half-width x 1e-3")
    sets = [(f"Luo {m}, {n}", [luo(m)[n]], [c for k, c in luo(m).items() if k != n])
            for m in MODELS for n in ("cosine_24000", "wsd_20000_24000")]  # fmt: skip
    for peak in PEAKS:
        curves = haegele(peak)
        for names in (("cos0_25000",), ("wsd20_linear_25000",), ("cos0_25000", "constant")):
            train = [_short(curves) if n == "constant" else curves[n] for n in names]
            sets.append((f"Haegele, peak {peak:g}, {', '.join(names)}", train, _others(curves, names)))
    every = []
    for title, train, held in sets:
        draws = scaling.bootstrap(scaling.fit("ncl", table_of(train)))
        inside, width = [], []
        for c in held:
            if c.new.any():
                band = scaling.forecast(draws, schedule=c.path)
                lo, hi = band["lo"].to_numpy()[c.new], band["hi"].to_numpy()[c.new]
                inside.append(float(((lo <= c.loss[c.new]) & (c.loss[c.new] <= hi)).mean()))
                width.append(0.5 * float((hi - lo).mean()))
        every.append(mean(inside))
        print(f"{title:48}{mean(inside):6.2f}{1e3 * mean(width):7.1f}", flush=True)
    print(f"{'mean':48}{mean(every):6.2f}")


def _hessian(fit: Fit, curve: Curve) -> Array:
    """Standard deviation of the loss by the curvature at the fit and its residuals, as a delta method has it."""
    from scaling.fitting import problem_of

    problem = problem_of(fit)
    names = list(problem.free)
    u = problem.coordinates(fit.free_values[None])
    _, jac = problem.jacobian(u)
    held = replace(problem, inputs=(curve.path,), loss=curve.loss, weights=np.ones(len(curve.loss)))
    _, out = held.jacobian(u)
    sd = fit.residual_sd
    bread = jac[0] @ jac[0].T / sd**2 + 1e-12 * np.eye(len(names))
    spread = np.einsum("kn,kl,ln->n", out[0], np.linalg.pinv(bread), out[0])
    return np.sqrt(spread + sd**2) * curve.loss


def cost() -> None:
    print(
        "\nWhat a fit costs: three curves of 24k steps, 100M; median of 5, cold sums, checks and certificate included"
    )
    train = [luo("100M")[n] for n in LUO_TRAIN]
    free = tuple(replace(p, hi=2.5) if p.name == "gamma" else p for p in LAWS["mpl_rises"].params)
    identical = replace(LAWS["mpl_rises"], params=free)
    scaling.fit("ncl", table_of(train))
    for title, law in (("ncl", "ncl"), ("tissue", "tissue"), ("mpl", "mpl"), ("mpl_tied", "mpl_tied"), ("fsl", "fsl"),
                       ("mpl, Luo's objective (gamma free)", identical)):  # fmt: skip
        taken = []
        for _ in range(5):
            table = table_of(train)
            start = time.process_time()
            found = scaling.fit(law, table)
            taken.append(time.process_time() - start)
        print(f"{title:40}{statistics.median(taken):8.3f} s   objective {found.value:.4e}")
    values = dict(LAWS["mpl_rises"].published["luo2025_100M"])
    given = scaling.fit("mpl_rises", table_of(train), fix=values)
    print(f"{'published parameters (Luo 2025)':40}{'':8}     objective {given.value:.4e}")
    params = dict(scaling.fit("ncl", table_of(train)).params)
    law, lr = LAWS["ncl"], luo("100M")["wsd_20000_24000"]
    for title, make in (
        ("predict a logged 24k-step curve, with gradient", lambda: lr.path),
        ("predict all of its 24k steps, with gradient", lambda: whole(lr.lr)),
    ):
        taken = []
        for _ in range(9):
            path = make()
            start = time.process_time()
            law.derivatives(path, **params)  # type: ignore[misc]
            taken.append(time.process_time() - start)
        print(f"{title:48}{1e3 * statistics.median(taken):8.1f} ms")


def figure(path: str) -> None:
    """Luo 2025, 100M: six curves forecast from three others, with 90% bands."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    curves = luo("100M")
    draws = scaling.bootstrap(scaling.fit("ncl", table_of([curves[n] for n in LUO_TRAIN])))
    held = [(n, c) for n, c in curves.items() if n not in LUO_TRAIN]
    plt.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False})
    shown, axes = plt.subplots(4, 3, figsize=(7.4, 6.6), height_ratios=[1, 2.6, 1, 2.6], layout="constrained")
    for i, (name, curve) in enumerate(held):
        above, below = axes[2 * (i // 3), i % 3], axes[2 * (i // 3) + 1, i % 3]
        band = scaling.forecast(draws, schedule=curve.path)
        x = curve.steps / 1000
        above.plot(np.arange(len(curve.lr)) / 1000, 1e4 * curve.lr, color="#555555", lw=1)
        above.set(title=name, ylim=(0, 3.3), xlim=(0, len(curve.lr) / 1000), xticklabels=[])
        below.fill_between(x, band["lo"], band["hi"], color="#4c72b0", alpha=0.3, lw=0, label="90% band")
        below.plot(x, curve.loss, ".", ms=1.8, color="#222222", label="trained, not fitted")
        below.plot(x, band["loss"], color="#c44e52", lw=1, label="forecast")
        late = curve.steps > 5000
        below.set(xlim=(0, len(curve.lr) / 1000), ylim=(curve.loss.min() - 0.03, curve.loss[late].max() + 0.05))
        error = band["loss"].to_numpy() - curve.loss
        below.text(0.97, 0.95, f"RMSE {1e3 * rmse(error):.1f}e-3\nnew part {1e3 * rmse(error[curve.new]):.1f}e-3",
                   transform=below.transAxes, ha="right", va="top")  # fmt: skip
        if i % 3 == 0:
            above.set_ylabel("LR x 1e4")
            below.set_ylabel("loss (nats/token)")
        if i >= 3:
            below.set_xlabel("thousand steps")
    axes[1, 2].legend(frameon=False, loc="lower left", fontsize=7)
    shown.savefig(path, dpi=120)


PARTS = {"accuracy": accuracy, "few": few, "haegele": by_peaks, "bands": bands, "alone": alone, "cost": cost}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--figure", metavar="PNG", help="draw the six held-out curves of the 100M model and stop")
    options = parser.parse_args()
    if options.figure:
        figure(options.figure)
        return
    for name in options.only:
        PARTS[name]()


if __name__ == "__main__":
    main()
