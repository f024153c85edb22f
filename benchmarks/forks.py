"""What forks save: training FLOP of a grid of WSD horizons with shared trunks, against every run trained alone.

    python benchmarks/forks.py

Eight horizons, cooldowns of a fifth of each, a warm-up in updates. Counted by the plan that `sweeps run` trains by; no
training, no torch. With a warm-up relative to the horizon nothing is shared.
"""

from __future__ import annotations

from sweeps.plan import build_plan
from sweeps.runs import Run

LONGEST = 12_800
SPACINGS = {
    "equally spaced": [LONGEST * i // 8 for i in range(1, 9)],
    "each twice the one before": [LONGEST // 2**i for i in range(8)],
}


def main() -> None:
    shape = dict(width=256, depth=4, head_dim=64, lr=1e-3)
    print("| horizons | cooldowns | warm-up | FLOP, forked / alone |\n|---|---|---|---|")
    for name, horizons in SPACINGS.items():
        for warmup in ("20 updates", "1% of the horizon"):
            runs = [
                Run(**shape, steps=n, cooldown=n // 5, warmup=20 if warmup[0] == "2" else n // 100)  # type: ignore[arg-type]
                for n in horizons
            ]
            plan = build_plan(runs)
            print(f"| 8, {name} | 20% | {warmup} | {plan.flops_shared / plan.flops_alone:.1%} |")


if __name__ == "__main__":
    main()
