"""What a fit costs: loading the package, fitting a law to 240 runs, 1000 bootstrap resamples, a rehearsed forecast.

The table is synthetic, of the size of Chinchilla's Figure 4, from the coefficients of Besiroglu 2024 (arXiv:2404.10102)
with 1% of noise. Times are the best of several, in milliseconds; the machine is printed with them.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

import scaling


def table(rows: int = 240, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n, d = 10 ** rng.uniform(7.6, 10.2, rows), 10 ** rng.uniform(8.5, 11.5, rows)
    loss = (1.8172 + 482.01 * n**-0.3478 + 2085.43 * d**-0.3658) * np.exp(0.01 * rng.standard_normal(rows))
    return pd.DataFrame({"N": n, "D": d, "loss": loss})


def best(work: Callable[[], object], times: int) -> float:
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return min(spent) * 1e3


def main() -> None:
    runs = scaling.read_table(table())
    fit = scaling.fit("chinchilla", runs)
    draws = scaling.bootstrap(fit, 1000, seed=0)
    rows = {
        "python -c 'import scaling'": best(
            lambda: subprocess.run([sys.executable, "-c", "import scaling"], check=True), 3
        ),
        "fit chinchilla, 240 rows": best(lambda: scaling.fit("chinchilla", runs), 5),
        "fit kaplan, 240 rows": best(lambda: scaling.fit("kaplan", runs), 5),
        "bootstrap, 1000 resamples": best(lambda: scaling.bootstrap(fit, 1000, seed=0), 2),
        "forecast one point": best(lambda: scaling.forecast(draws, N=[7e10], D=[1.4e12]), 5),
        "optimum of one budget": best(lambda: scaling.optimum(draws, C=[1e24]), 5),
    }
    for name, value in rows.items():
        print(f"{name:32} {value:10.1f} ms")
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    print(f"{platform.machine()}, {os.cpu_count()} cores, {threads} threads, Python {platform.python_version()}, "
          f"numpy {np.__version__}, pandas {pd.__version__}")  # fmt: skip


if __name__ == "__main__":
    main()
