"""A watched run in words, and as what JSON holds."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from scaling.persistence import frame_json
from scaling.watching import Watch

SAID = {"parameters": "refits", "rehearsal": "rehearsal", "runs": "between runs", "noise": "one row"}


def watch_text(watch: Watch) -> str:
    """The forecast first, then what it rests on, then what is wrong."""
    share = (watch.now + 1) / watch.steps
    count = len(watch.family)
    rests = f"{count} curve{'s' * (count > 1)} of its family" if count else "its own curve alone"
    parts = ", ".join(f"{SAID[name]} {value:.2%}" for name, value in watch.parts.items())
    lines = [
        f"{watch.run}: step {watch.now} of {watch.steps} ({share:.0%}), loss {watch.observed['loss'].iloc[-1]:.4f}",
        f"final loss {watch.loss:.4f}, {watch.level:.0%} interval {watch.lo:.4f} .. {watch.hi:.4f}, by "
        f"{watch.fit.law.name} from {rests}",
        f"its parts, standard deviations of ln loss: {parts}",
    ]
    if len(watch.rehearsal):
        error = watch.rehearsal["error"].abs()
        lines.append(
            f"rehearsal: {len(error)} of its family, watched at {share:.0%} of their steps, would have been missed by "
            f"{error.median():.2%} (median), {error.max():.2%} at worst"
        )
    away = watch.departure
    if away is not None and not away.said:
        side = "above" if away.excess > 0 else "below"
        lines.append(
            f"on course: its last losses are {abs(away.excess):.2%} {side} what was expected at step {away.since} "
            f"({abs(away.z):.1f} standard deviations)"
        )
    lines += [f"PROBLEM: {line}" for line in (away.said if away else ())]
    lines += [f"note: {line}" for line in watch.notes]
    return "\n".join(lines)


def watch_record(watch: Watch) -> dict[str, Any]:
    """The forecast as plain values; `curve` has the band over the whole run."""
    away = watch.departure
    return {
        "run": watch.run, "steps": watch.steps, "now": watch.now, "loss": watch.loss, "lo": watch.lo, "hi": watch.hi,
        "level": watch.level, "law": watch.fit.law.name, "family": list(watch.family), "parts": dict(watch.parts),
        "annealing_identified": watch.identified, "notes": list(watch.notes),
        "departure": None if away is None else {
            "since": away.since, "excess": away.excess, "z": away.z if np.isfinite(away.z) else None,
            "spikes": list(away.spikes), "problems": list(away.said),
        },
        "rehearsal": json.loads(frame_json(watch.rehearsal)), "curve": json.loads(frame_json(watch.band)),
    }  # fmt: skip
