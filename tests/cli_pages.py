"""The commands of both command lines, read from their parsers: their examples, and the pages that document them.

`python -m tests.cli_pages docs` writes docs/cli/scaling.md and docs/cli/sweeps.md.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scaling import cli as of_scaling
from sweeps import cli as of_sweeps

PARSERS = {"scaling": of_scaling._parser, "sweeps": of_sweeps._parser}
MADE = "<!-- made by `python -m tests.cli_pages docs` from the command's parser; edit that -->"


@dataclass(frozen=True)
class Command:
    """One command, such as "scaling schedule predict"; a group of commands has children and no options of its own."""

    name: str
    parser: argparse.ArgumentParser
    children: tuple[str, ...]

    @property
    def examples(self) -> list[str]:
        """The examples of its help, each as it is typed; words set apart by three spaces explain it."""
        found: list[str] = []
        lines = (self.parser.epilog or "").splitlines()
        for line in lines[1:] if lines[:1] == ["examples:"] else []:
            text = line.strip()
            if found and found[-1].endswith("\\"):
                found[-1] = found[-1][:-1].strip() + " " + text
            elif text:
                found.append(text)
        return [re.split(r"\s{3,}", text)[0] for text in found]


def commands(name: str) -> Iterator[Command]:
    """The command line itself, and all its commands, in the order of its help."""
    yield from _walk(name, PARSERS[name]())


def _walk(name: str, parser: argparse.ArgumentParser) -> Iterator[Command]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    children = [(f"{name} {word}", sub) for group in groups for word, sub in group.choices.items()]
    yield Command(name, parser, tuple(word for word, _ in children))
    for word, sub in children:
        yield from _walk(word, sub)


def page(name: str) -> str:
    """The reference of one command line, in Markdown."""
    top, *others = commands(name)
    lines = [f"# The command {name}", "", MADE, "", _sentence(top.parser.description or ""), ""]
    lines += [f"- [`{one.name}`](#{one.name.replace(' ', '-')}): {_plain(one.parser)}" for one in others]
    for one in others:
        lines += ["", f"## {one.name}", "", _sentence(one.parser.description or ""), ""]
        lines += ["```text", _usage(one), "```"]
        rows = [row for action in one.parser._actions if (row := _row(action))]
        if rows:
            lines += ["", "| option | meaning |", "|---|---|", *rows]
        if one.examples:
            lines += ["", "Examples:", "", "```text", *one.examples, "```"]
    return "\n".join(lines) + "\n"


def _usage(one: Command) -> str:
    """In one line, and not by argparse, whose words differ between versions of Python."""
    places = [str(a.metavar or a.dest) for a in one.parser._actions if not a.option_strings]
    return " ".join([one.name, *(["[options]"] if not one.children else []), *places])


def _row(action: argparse.Action) -> str:
    if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
        return ""
    if action.option_strings:
        shown = ", ".join(action.option_strings)
        if action.nargs != 0:
            choices = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else ""
            shown += f" {action.metavar or choices or action.dest.upper()}"
    else:
        shown = str(action.metavar or action.dest)
    said = (action.help or "") + (" (required)" if action.required and action.option_strings else "")
    return f"| `{_cell(shown)}` | {_cell(_escaped(said))} |"


def _plain(parser: argparse.ArgumentParser) -> str:
    return _escaped(" ".join((parser.description or "").split()))


def _sentence(text: str) -> str:
    text = _escaped(" ".join(text.split()))
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def _escaped(text: str) -> str:
    """Text of a help as Markdown: %% is one, and no < begins a tag."""
    return text.replace("%%", "%").replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def write(folder: Path) -> list[Path]:
    """Write the pages to folder/cli; returns the paths."""
    (folder / "cli").mkdir(parents=True, exist_ok=True)
    paths = [folder / "cli" / f"{name}.md" for name in PARSERS]
    for path in paths:
        path.write_text(page(path.stem), encoding="utf-8")
    return paths


if __name__ == "__main__":
    for path in write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs")):
        print(path)
