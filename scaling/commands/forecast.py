"""`scaling forecast`: loss where nobody has trained, from a table or by a fit."""

from __future__ import annotations

import argparse
import io
import sys
from typing import Any

from scaling.commands.common import (
    Command,
    draws_of,
    is_fit,
    numbers,
    print_frame,
    read_rows,
    reading_options,
    say,
    uncertain_options,
)
from scaling.commands.registering import register, register_options
from scaling.errors import ScalingError


def add(command: Command) -> None:
    forecast = command(
        "forecast",
        run,
        "loss where nobody has trained, with an interval: from a table of runs, or by one fitted law",
        "scaling forecast runs.csv --at N=7e10,D=1.4e12",
        "scaling forecast runs.csv --at N=7e10,D=1.4e12 --register forecasts.jsonl   (see scaling score)",
    )
    uncertain_options(forecast, table=True)
    forecast.add_argument("--cautious", action="store_true", help="from a table: intervals a fifth wider")
    reading_options(forecast)
    forecast.add_argument("--at", action="append", type=numbers, metavar="N=..,D=..", help="one point; may be repeated")
    forecast.add_argument(
        "--schedule",
        metavar="SPEC",
        help="for curve laws: wsd:steps=24000,peak=3e-4,warmup=2160,cooldown=4000, or a CSV with a column lr",
    )
    register_options(forecast)
    forecast.add_argument(
        "--run", dest="runs", action="append", metavar="NAME",
        help="with --register: what the run of each --at will be called in the table that scores it",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    if not is_fit(args):
        _forecast_table(args)
        return
    how_read = (args.map, args.where, args.loss, args.units, args.set, args.final, args.map_file)
    if any(how_read) or args.cautious:
        raise ScalingError(
            "--map, --where, --loss, --units, --set, --final, --map-file and --cautious are for a forecast from a "
            "table; this is a fit"
        )
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
    print_frame(args, frame, forecast_text(frame))
    say([*draws.fit.problems, *warnings, rehearsal_line(draws)], args)
    if args.register:
        _register_fit(args, draws.fit, frame)


def _register_fit(args: argparse.Namespace, fit: Any, frame: Any) -> None:
    from scaling.registering import data_record, law_record, points_of, schedule_record
    from scaling.schedule_spec import schedule_from

    inputs, schedule = [fit.columns[name] for name in fit.law.inputs if name in fit.columns], None
    if fit.law.kind == "curves":
        lr = schedule_from(args.schedule)
        schedule = schedule_record(lr, args.schedule)
        frame = frame if "steps" in frame else frame.tail(1).assign(**(args.at[0] if args.at else {}))
        inputs = list(fit.law.inputs[1:])
    points = points_of(frame, inputs, fit.law.predicts, args.runs)
    source = None if args.fit == "-" else args.fit
    data = data_record(fit.table, source, fit.columns["loss"])
    register(args, points, law_record(fit), data, schedule)


def _forecast_table(args: argparse.Namespace) -> None:
    import pandas as pd

    from scaling.forecasting import forecast
    from scaling.report import stacked_text
    from scaling.stacking import RESAMPLES, stack

    if not args.at or args.schedule:
        raise ScalingError("say where: --at N=..,D=.. (a forecast from a table is one of N and D)")
    args.table = args.fit
    text = sys.stdin.read() if args.table == "-" else ""
    sys.stdin = io.StringIO(text) if args.table == "-" else sys.stdin
    resamples = RESAMPLES if args.resamples is None else args.resamples
    stacked = stack(read_rows(args, None), resamples=resamples, seed=args.seed)
    names = sorted({name for at in args.at for name in at})
    if any(set(at) != set(names) for at in args.at):
        raise ScalingError("every --at must name N and D")
    points = {name: [at[name] for at in args.at] for name in names}
    frame = forecast(stacked, level=args.level, cautious=args.cautious, **points)
    print_frame(args, pd.DataFrame(frame), stacked_text(stacked, frame, args.level))
    say([*stacked.notes, *frame.attrs["said"]], args)
    if args.register:
        from scaling.registering import data_record, law_record, points_of

        sys.stdin = io.StringIO(text) if args.table == "-" else sys.stdin
        args.where = None  # the record names all rows of the file, those that were filtered out too
        data = data_record(read_rows(args, None), None if args.table == "-" else args.table)
        register(args, points_of(frame, ("N", "D"), runs=args.runs), law_record(stacked), data)


def _forecast_curves(args: argparse.Namespace, draws: Any) -> Any:
    """A whole curve; of a law over sizes at several --at, the last loss at each."""
    import pandas as pd

    from scaling.finals import final_losses
    from scaling.forecasting import forecast
    from scaling.schedule_spec import schedule_from

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
