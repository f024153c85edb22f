"""`scaling forecast`: loss where nobody has trained, from a table or by a fit."""

from __future__ import annotations

import argparse
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
from scaling.errors import ScalingError


def add(command: Command) -> None:
    forecast = command(
        "forecast",
        run,
        "loss where nobody has trained, with an interval: from a table of runs, or by one fitted law",
        "scaling forecast runs.csv --at N=7e10,D=1.4e12",
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


def run(args: argparse.Namespace) -> None:
    if not is_fit(args):
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
    print_frame(args, frame, forecast_text(frame))
    say([*draws.fit.problems, *warnings, rehearsal_line(draws)], args)


def _forecast_table(args: argparse.Namespace) -> None:
    import pandas as pd

    from scaling.forecasting import forecast
    from scaling.report import stacked_text
    from scaling.stacking import RESAMPLES, stack

    if not args.at or args.schedule:
        raise ScalingError("say where: --at N=..,D=.. (a forecast from a table is one of N and D)")
    args.table = args.fit
    resamples = RESAMPLES if args.resamples is None else args.resamples
    stacked = stack(read_rows(args, None), resamples=resamples, seed=args.seed)
    names = sorted({name for at in args.at for name in at})
    if any(set(at) != set(names) for at in args.at):
        raise ScalingError("every --at must name N and D")
    points = {name: [at[name] for at in args.at] for name in names}
    frame = forecast(stacked, level=args.level, cautious=args.cautious, **points)
    text, said = stacked_text(stacked, frame, args.level), frame.attrs["said"]
    print_frame(args, pd.DataFrame(frame), text)
    say([*stacked.notes, *said], args)


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
