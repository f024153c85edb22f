"""Laws as text: the list and the page of one law for the command line, and the handbook's pages, made from what the
laws declare of themselves. `python -m scaling.lawpages docs` writes the pages and their figures."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

from scaling.law import Law
from scaling.laws import FAMILIES, LAWS

#: What the usual columns are; which parameters and which compute a law counts is said in its units.
PLAIN = {
    "N": "parameters", "D": "tokens", "C": "training compute", "loss": "loss of the finished run",
    "schedule": "learning rate of every update",
}  # fmt: skip


def by_family(laws: list[Law]) -> dict[str, list[Law]]:
    """Laws under their families, in the order of FAMILIES."""
    known = list(FAMILIES)
    ordered = sorted(laws, key=lambda law: known.index(law.family) if law.family in known else len(known))
    return {family: list(group) for family, group in groupby(ordered, key=lambda law: law.family)}


def laws_text(laws: list[Law]) -> str:
    """One line a law, under its family."""
    width = max(len(law.name) for law in laws) + 2
    lines = []
    for family, members in by_family(laws).items():
        lines += ["", family]
        lines += [f"  {law.name:{width}} {law.equation}   {source(law)}" for law in members]
    return "\n".join(lines[1:])


def source(law: Law) -> str:
    """Authors and year."""
    return law.cite.split(",")[0]


def meaning(law: Law, name: str) -> str:
    """What an input or the predicted quantity is."""
    return law.symbols.get(name, PLAIN.get(name, ""))


def law_text(law: Law) -> str:
    """One law in full: equation, source, what it reads and predicts, parameters with bounds, published values."""
    lines = [
        f"{law.name}: {law.equation}",
        f"  source   {law.cite}",
        f"  family   {law.family}",
        f"  reads    {', '.join(law.inputs)} ({law.units})",
        f"  predicts {law.predicts}, {law.unit}{', which may be 0 or negative' if law.signed else ''}",
    ]
    for words, value in (
        ("may be 0", ", ".join(law.zero)),
        ("sum to 1", ", ".join(law.simplex)),
        ("hold    ", f"{', '.join(law.hold)}: runs hardly determine them beside the others" if law.hold else ""),
        ("note    ", law.notes),
        ("instead ", law.instead),
    ):
        if value:
            lines.append(f"  {words} {value}")
    lines.append("")
    for name in (*law.inputs, law.predicts):
        said = meaning(law, name)
        covered = f"   {law.ranges[name][0]:g} to {law.ranges[name][1]:g}" if name in law.ranges else ""
        if said or covered:
            lines.append(f"  {name:8} {said}{covered}")
    for p in law.params:
        kind = "linear" if p.linear else "nonlinear"
        said = f"   {law.symbols[p.name]}" if p.name in law.symbols else ""
        lines.append(f"  {p.name:8} {kind:9} between {p.lo:g} and {p.hi:g}   {p.unit}{said}")
    for name, values in law.published.items():
        lines.append(f"  {name}: " + ", ".join(f"{k}={v:g}" for k, v in values.items()))
    if law.example:
        lines.append("  made up, to try: " + ", ".join(f"{k}={v:g}" for k, v in law.example.items()))
    return "\n".join(lines)


def stem(family: str) -> str:
    """The name of a family's page and figure."""
    return family.replace(" ", "-")


def page(family: str, laws: list[Law]) -> str:
    """The handbook's page of one family, in Markdown."""
    lines = [
        f"# Laws: {family}",
        "",
        "<!-- made by `python -m scaling.lawpages docs` from the laws' declarations; edit those -->",
        "",
        f"![each law over the range it was made for](../figures/laws-{stem(family)}.png)",
        "",
        "Each law over the range it was published for, at the first of its coefficients, the first input along the "
        "axis and three values of the last. Dashed: coefficients made up, for want of published ones.",
    ]
    for law in laws:
        lines += ["", f"## {law.name}", "", f"`{law.equation}`", "", f"{law.cite}.", ""]
        lines += [f"Predicts `{law.predicts}` ({law.unit}). {_sentence(law.units)}"]
        if law.notes:
            lines += ["", _sentence(law.notes)]
        if law.instead:
            lines += ["", f"Instead: {_sentence(law.instead)}"]
        lines += ["", "| symbol | meaning | unit | range |", "|---|---|---|---|"]
        for name in law.inputs:
            lo_hi = " to ".join(f"{v:g}" for v in law.ranges[name]) if name in law.ranges else ""
            also = ", may be 0" if name in law.zero else ", shares that sum to 1" if name in law.simplex else ""
            lines.append(f"| `{name}` | {meaning(law, name)}{also} | | {lo_hi} |")
        for p in law.params:
            how = "linear" if p.linear else ""
            held = "hold" if p.name in law.hold else ""
            said = ", ".join(filter(None, (law.symbols.get(p.name, ""), how, held)))
            lines.append(f"| {p.name} | {said} | {p.unit} | {p.lo:g} to {p.hi:g} |")
        if law.published:
            names = law.names
            lines += ["", "| published | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
            for key, values in law.published.items():
                lines.append(f"| {key} | " + " | ".join(f"{values[n]:.6g}" for n in names) + " |")
    return "\n".join(lines) + "\n"


def _sentence(text: str) -> str:
    # a bar would end a table's cell and a bracket begin a link; neither occurs elsewhere in the declarations
    return text.rstrip(".") + "."


def write(folder: Path) -> list[Path]:
    """Write every page to folder/laws and every figure to folder/figures; returns the paths."""
    from scaling.lawplots import sheet

    written = []
    (folder / "laws").mkdir(parents=True, exist_ok=True)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for family, laws in by_family(list(LAWS.values())).items():
        path = folder / "laws" / f"{stem(family)}.md"
        path.write_text(page(family, laws), encoding="utf-8")
        figure = folder / "figures" / f"laws-{stem(family)}.png"
        figure.write_bytes(sheet(laws))
        written += [path, figure]
    for path, lines, comment in lists(folder):
        path.write_text(between(path.read_text(encoding="utf-8"), lines, comment), encoding="utf-8")
    return written


def lists(folder: Path) -> list[tuple[Path, list[str], str]]:
    """Files that list the families between two comments: the path, the lines that belong there, how comments look."""
    families = by_family(list(LAWS.values()))
    links = []
    for f, laws in families.items():
        links.append(f"- [{f}](laws/{stem(f)}.md): {', '.join(f'`{law.name}`' for law in laws)}")
    pages = [f"      - {f.capitalize()}: laws/{stem(f)}.md" for f in families]
    found = [
        (folder / "laws.md", links, "<!-- {} -->"),
        (folder.parent / "mkdocs.yml", pages, "      # {}"),
    ]
    return [(path, lines, comment) for path, lines, comment in found if path.exists()]


def between(text: str, lines: list[str], comment: str) -> str:
    """The text with these lines between its two comments."""
    head, _, rest = text.partition(comment.format("families") + "\n")
    _, _, tail = rest.partition(comment.format("end of families") + "\n")
    body = "\n".join([comment.format("families"), *lines, comment.format("end of families")])
    return f"{head}{body}\n{tail}"


if __name__ == "__main__":
    for path in write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs")):
        print(path)
