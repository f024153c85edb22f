"""`scaling theory`: losses of a model whose exponents are known."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scaling.commands.common import Command, print_frame
from scaling.files import write_text


def add(command: Command) -> None:
    theory = command(
        "theory",
        run,
        "losses of a model whose exponents are known (random features), as a plot and a table to try fits on",
        "scaling theory -a 1.5 -b 1.25 -o out",
    )
    theory.add_argument("-a", type=float, default=1.5, help="fall of the teacher's power: L ~ N^-(a-1) (default 1.5)")
    theory.add_argument("-b", type=float, default=1.25, help="fall of the eigenvalues: L ~ t^-(a-1)/b (default 1.25)")
    theory.add_argument(
        "--noise", type=float, default=0.0, help="sd of the labels; its square is the floor (default 0)"
    )
    theory.add_argument("--modes", type=float, default=1e8, help="modes of the data (default 1e8)")
    theory.add_argument("-o", "--output", metavar="DIR", help="write surface.csv and theory.png to a folder")
    theory.add_argument("--json", action="store_true", help="print the exponents as JSON")


def run(args: argparse.Namespace) -> None:
    from scaling.report import forecast_text
    from scaling.theory.random_features import RandomFeatures
    from scaling.theory.tables import exponents, surface

    model = RandomFeatures(args.a, args.b, args.modes, args.noise)
    frame = exponents(model).reset_index()
    print_frame(args, frame, forecast_text(frame))
    if not args.output:
        return
    from scaling.style import save
    from scaling.theory.figure import theory_figure

    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "surface.csv", surface(model).to_csv(index=False, float_format="%.10g"))
    save(theory_figure(model), str(folder / "theory.png"))
    print(f"wrote {folder / 'surface.csv'} and {folder / 'theory.png'}", file=sys.stderr)
