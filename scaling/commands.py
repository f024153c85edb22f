"""What each command of `scaling` does with its parsed arguments; the parser is in `scaling/cli.py`.

Modules are imported where they are used, so that no command pays for what another needs.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path
from typing import Any

from scaling.errors import ScalingError
from scaling.files import write_text


def run_laws(args: argparse.Namespace) -> None:
    from scaling.lawpages import law_text, laws_text
    from scaling.laws import LAWS, find_law

    if args.json:
        chosen = [find_law(args.name)] if args.name else list(LAWS.values())
        print(json.dumps([_law_record(law) for law in chosen], indent=1))
    elif args.name:
        print(law_text(find_law(args.name)))
    else:
        print(laws_text(list(LAWS.values())))


def _law_record(law: Any) -> dict[str, Any]:
    return {
        "name": law.name, "family": law.family, "equation": law.equation, "cite": law.cite, "kind": law.kind,
        "inputs": list(law.inputs), "predicts": law.predicts, "unit": law.unit, "params": list(law.names),
        "units": law.units, "notes": law.notes, "instead": law.instead, "symbols": dict(law.symbols),
        "zero": list(law.zero), "hold": list(law.hold), "ranges": {k: list(v) for k, v in law.ranges.items()},
        "published": {k: dict(v) for k, v in law.published.items()},
    }  # fmt: skip


def _read(args: argparse.Namespace, law: Any) -> Any:
    from scaling.curves import read_curves
    from scaling.table import read_table

    source = sys.stdin if args.table == "-" else args.table
    if law is None:
        return read_table(source, map=args.map | ({"loss": args.loss} if args.loss else {}), where=args.where)
    if law.kind == "curves":
        return read_curves(source, loss=args.loss, warmup=args.warmup, map=args.map, where=args.where)
    if args.warmup is not None:
        raise ScalingError(f"--warmup is for laws of whole curves; {law.name} reads {', '.join(law.inputs)}")
    return read_table(source, map=args.map | ({law.predicts: args.loss} if args.loss else {}), where=args.where)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "x": args.x, "objective": args.objective, "delta": args.delta, "weights": args.weights,
        "quantile": args.quantile, "se": args.se,
        "fix": args.fix, "tie": args.tie, "starts": args.starts,
    }  # fmt: skip


def _law_of(args: argparse.Namespace) -> Any:
    from scaling.laws import find_law

    if Path(args.law).exists():
        raise ScalingError(
            f"the law comes first, then the table: scaling fit chinchilla {args.law} (see `scaling laws`)"
        )
    return find_law(args.law)


def run_fit(args: argparse.Namespace) -> None:
    from scaling.fitting import fit
    from scaling.persistence import to_json

    if args.law is None and len(args.own) == 1:
        args.law = args.own[0].name
    if args.law is None and args.own:
        names = ", ".join(law.name for law in args.own)
        raise ScalingError(f"{args.law_file} declares {names}; say which: scaling fit LAW TABLE --law-file ...")
    if args.law is None:
        _fit_all(args)
        return
    law = _law_of(args)
    result = fit(law, _read(args, law), seed=args.seed, **_options(args))
    print(to_json(result) if args.json else result.report(), flush=True)
    if args.output:
        write_text(args.output, to_json(result) + "\n")
    if args.strict and not result.ok:
        raise ScalingError(f"--strict: the fit has {len(result.problems)} problems, the first: {result.problems[0]}")


def _fit_all(args: argparse.Namespace) -> None:
    """`scaling fit TABLE`: the ranking first, then the law that forecast best; --json and -o give that law's fit."""
    from scaling.comparison import compare
    from scaling.laws import LAWS
    from scaling.persistence import to_json

    if args.table in LAWS and not Path(args.table).exists():
        raise ScalingError(f"say what to fit {args.table} to: scaling fit {args.table} TABLE")
    if args.fix or args.tie:
        raise ScalingError("--fix and --tie hold parameters of one law: scaling fit LAW TABLE --fix ...")
    named = {name: value for name, value in _options(args).items() if name not in ("x", "fix", "tie")}
    compared = compare(None, _read(args, None), x=args.x, seed=args.seed, **named)
    best = compared.fits[next(name for name in compared.ranking.index if name in compared.fits)]
    print(compared.report() + "\n", file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print(to_json(best))
    else:
        print(
            "\n".join([best.report(), "", "the others", *(f"  {f}" for f in compared.fits.values() if f is not best)])
        )
    if args.output:
        write_text(args.output, to_json(best) + "\n")
    if args.strict and not best.ok:
        raise ScalingError(f"--strict: {best.law.name} has {len(best.problems)} problems, first: {best.problems[0]}")


def run_compare(args: argparse.Namespace) -> None:
    from scaling.comparison import compare

    laws = args.laws.split(",") if args.laws else None
    compared = compare(laws, _read(args, None), x=args.x, level=args.level, resamples=args.resamples, seed=args.seed)
    print(compared.to_json() if args.json else compared.report())


def draws_of(args: argparse.Namespace) -> Any:
    from scaling.intervals import bootstrap
    from scaling.persistence import from_json, read_fit

    fit = from_json(sys.stdin.read()) if args.fit == "-" else read_fit(args.fit)
    return bootstrap(fit, args.resamples, seed=args.seed)


def _is_fit(args: argparse.Namespace) -> bool:
    """Whether the positional is a fit's JSON and not a table: by its ending, else by its first character."""
    path = Path(args.fit)
    if args.fit == "-":
        text = sys.stdin.read()
        sys.stdin = io.StringIO(text)
        return text.lstrip()[:1] in ("{", "[")
    if path.suffix == ".json" or not path.is_file():
        return path.suffix == ".json"
    with path.open("rb") as file:
        return file.read(64).lstrip()[:1] in (b"{", b"[")


def _forecast_table(args: argparse.Namespace) -> None:
    import pandas as pd

    from scaling.forecasting import forecast
    from scaling.report import stacked_text
    from scaling.stacking import RESAMPLES, stack

    if not args.at or args.schedule:
        raise ScalingError("say where: --at N=..,D=.. (a forecast from a table is one of N and D)")
    args.table = args.fit
    resamples = RESAMPLES if args.resamples is None else args.resamples
    stacked = stack(_read(args, None), resamples=resamples, seed=args.seed)
    names = sorted({name for at in args.at for name in at})
    if any(set(at) != set(names) for at in args.at):
        raise ScalingError("every --at must name N and D")
    points = {name: [at[name] for at in args.at] for name in names}
    frame = forecast(stacked, level=args.level, cautious=args.cautious, **points)
    text, said = stacked_text(stacked, frame, args.level), frame.attrs["said"]
    _print_frame(args, pd.DataFrame(frame), text)
    _said([*stacked.notes, *said], args)


def _forecast_curves(args: argparse.Namespace, draws: Any) -> Any:
    """A whole curve; of a law over sizes at several --at, the last loss at each."""
    import pandas as pd

    from scaling.finals import final_losses
    from scaling.forecasting import forecast
    from scaling.report import schedule_from

    law = draws.fit.law
    others = law.inputs[1:]
    if not args.schedule or (args.at and not others):
        raise ScalingError(f"{law.name} forecasts whole curves: give --schedule{' and --at N=..' * bool(others)}")
    if any(set(at) != set(others) for at in args.at or ()) or (others and not args.at):
        raise ScalingError(f"{law.name} forecasts a curve at --at {','.join(f'{name}=..' for name in others)}")
    lr = schedule_from(args.schedule)
    if len(args.at or ()) > 1:
        return final_losses(draws, pd.DataFrame(args.at).assign(schedule=args.schedule), level=args.level)
    return forecast(draws, schedule=lr, level=args.level, **(args.at[0] if others else {}))


def run_forecast(args: argparse.Namespace) -> None:
    if not _is_fit(args):
        _forecast_table(args)
        return
    if args.map or args.where or args.loss or args.cautious:
        raise ScalingError("--map, --where, --loss and --cautious are for a forecast from a table; this is a fit")
    import pandas as pd

    from scaling.forecasting import forecast, range_warnings, rehearsal_line
    from scaling.report import forecast_text

    draws = draws_of(args)
    if draws.fit.law.kind == "curves":
        frame = _forecast_curves(args, draws)
        warnings = [*draws.notes, *frame.attrs.get("said", ())]
    else:
        if not args.at or args.schedule:
            raise ScalingError(
                f"say where: --at {','.join(draws.fit.columns[n] + '=..' for n in draws.fit.law.inputs)}"
            )
        frame = pd.concat([forecast(draws, level=args.level, **at) for at in args.at], ignore_index=True)
        warnings = [*draws.notes, *range_warnings(draws.fit, frame)]
    frame = frame.rename(columns={"loss": draws.fit.law.predicts})
    _print_frame(args, frame, forecast_text(frame))
    _said([*draws.fit.problems, *warnings, rehearsal_line(draws)], args)


def run_optimum(args: argparse.Namespace) -> None:
    from scaling.allocation import optimum
    from scaling.forecasting import rehearsal_line
    from scaling.report import forecast_text

    draws = draws_of(args)
    frame = optimum(draws, C=args.flops, level=args.level)
    _print_frame(args, frame, forecast_text(frame))
    _said([*draws.fit.problems, *draws.notes, rehearsal_line(draws)], args)


def run_holdout(args: argparse.Namespace) -> None:
    from scaling.report import holdout_command

    law = _law_of(args)
    holdout_command(args, law, _read(args, law), _options(args))


def run_sensitivity(args: argparse.Namespace) -> None:
    from scaling.persistence import from_json, read_fit
    from scaling.report import sensitivity_text
    from scaling.sensitivity import sensitivity

    fit = from_json(sys.stdin.read()) if args.fit == "-" else read_fit(args.fit)
    frame = sensitivity(fit)
    _print_frame(args, frame, sensitivity_text(frame))
    _said(list(fit.problems), args)


def run_plot(args: argparse.Namespace) -> None:
    from scaling.plots import figure_of, save

    save(figure_of(draws_of(args), level=args.level), args.output)
    print(f"wrote {args.output}", file=sys.stderr)


def run_theory(args: argparse.Namespace) -> None:
    from scaling.report import forecast_text
    from scaling.theory.random_features import RandomFeatures
    from scaling.theory.tables import exponents, surface

    model = RandomFeatures(args.a, args.b, args.modes, args.noise)
    frame = exponents(model).reset_index()
    _print_frame(args, frame, forecast_text(frame))
    if not args.output:
        return
    from scaling.plots import save
    from scaling.theory.figure import theory_figure

    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "surface.csv", surface(model).to_csv(index=False, float_format="%.10g"))
    save(theory_figure(model), str(folder / "theory.png"))
    print(f"wrote {folder / 'surface.csv'} and {folder / 'theory.png'}", file=sys.stderr)


def _print_frame(args: argparse.Namespace, frame: Any, text: str) -> None:
    from scaling.persistence import frame_json

    print(frame_json(frame) if args.json else text)


def _said(lines: list[str], args: argparse.Namespace) -> None:
    for line in lines:
        print(line, file=sys.stderr if args.json else sys.stdout)
