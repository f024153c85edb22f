"""The examples in the documents: found by their fences, run in order, their shown output compared with the real one.

In one document, in a folder of its own:

    ```python    all blocks run in one namespace, one after another
    ```console   lines that start with "$ " are commands (a last backslash goes on to the next line); the lines after a
                 command must appear in its output, in this order, whatever the numbers; a line "..." stands for any
    ```sh        a whole script
    ```toml title="grid.toml"    any block with a title is written to that file, so that a command can read it

and a comment in the lines right before a fence changes that:

    <!-- not run: REASON -->               the block is left alone
    <!-- output not compared: REASON -->   the commands run, whatever they print
    <!-- exits 1 -->                       the one command of the block must fail with that status
    <!-- output -->                        a text block: compared with what the block before it printed
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

RUN = ("python", "console", "sh")
SHOWN = ("text", "toml", "csv", "json", "bibtex")
FENCE = re.compile(r"^(?P<indent>\s*)(?P<ticks>`{3,})(?P<language>[^\s`]*)(?P<rest>[^`]*)$")
COMMENT = re.compile(r"^\s*<!--\s*(.*?)\s*-->\s*$")
TITLE = re.compile(r'title="([^"]+)"')
NUMBER = re.compile(r"[-+]?[0-9a-f]{8,}|[-+]?\d+(?:,\d{3})*\.?\d*(?:e[-+]?\d+)?")
OURS = re.compile(r"(scaling|sweeps) ")
SHELL = re.compile(r"[|&;<>()$`*?~\"\[\]{}]|\s#|(?<!\\)\n")  # outside of single quotes: needs a shell, or might
SECONDS = 300  # for one command: a small sweep on two slow cores, with room


class Wrong(Exception):
    """An example that does not do what its document says."""


@dataclass(frozen=True)
class Block:
    where: str  # document:line of the fence
    line: int
    language: str
    title: str
    text: str
    comments: tuple[str, ...]

    def says(self, start: str) -> str | None:
        """What follows `start` in a comment before the block; None without such a comment."""
        return next((c[len(start) :].strip() for c in self.comments if c.startswith(start)), None)


def read_blocks(document: Path) -> list[Block]:
    """All fenced blocks of a document. Raises Wrong for a fence whose language is not one of ours, or is missing."""
    blocks: list[Block] = []
    lines = document.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        opened = FENCE.match(lines[at])
        if not opened:
            at += 1
            continue
        start, ticks = at, opened["ticks"]
        at += 1
        while at < len(lines) and lines[at].strip() != ticks:
            at += 1
        where, language = f"{document.name}:{start + 1}", opened["language"]
        if at == len(lines):
            raise Wrong(f"{where}: the fence is not closed")
        if language not in RUN + SHOWN:
            raise Wrong(f"{where}: a fence must say what it holds ({', '.join(RUN + SHOWN)}), not {language!r}")
        title = TITLE.search(opened["rest"])
        text = textwrap.dedent("\n".join(lines[start + 1 : at])) + "\n"
        block = Block(where, start + 1, language, title[1] if title else "", text, _comments(lines[:start]))
        if block.says("not run") in ("", ":") or block.says("output not compared") in ("", ":"):
            raise Wrong(f"{where}: an exception needs its reason: <!-- not run: REASON -->")
        blocks.append(block)
        at += 1
    return blocks


def _comments(before: list[str]) -> tuple[str, ...]:
    found = []
    for line in reversed(before):
        comment = COMMENT.match(line)
        if not comment:
            break
        found.append(comment[1])
    return tuple(found)


def run_blocks(blocks: list[Block], folder: Path) -> int:
    """Runs the blocks in `folder`, which must be the working directory; the number that ran. Raises Wrong."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed, ran = "", 0
    for block in blocks:
        if block.says("not run") is not None:
            continue
        if block.title:
            (folder / block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            printed = _python(block, namespace)
        elif block.language == "console":
            printed = _console(block, folder)
        elif block.language == "sh":
            printed = _shell(block, block.text, folder)
        elif block.says("output") == "":
            compare(block.where, block.text.splitlines(), printed)
        ran += block.language in RUN and not block.title
    return ran


def _python(block: Block, namespace: dict[str, Any]) -> str:
    source = "\n" * block.line + block.text  # so that a traceback names the line of the document
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(source, block.where.partition(":")[0], "exec"), namespace)
    except (Exception, SystemExit) as error:
        raise Wrong(f"{block.where}: {type(error).__name__}: {error}") from error
    return printed.getvalue()


def _console(block: Block, folder: Path) -> str:
    printed = ""
    for command, shown in commands(block):
        printed = _shell(block, command, folder)
        if shown and block.says("output not compared") is None:
            compare(f"{block.where}: {command}", shown, printed)
    return printed


def commands(block: Block) -> list[tuple[str, list[str]]]:
    """The commands of a console block, each with the output shown after it."""
    found: list[tuple[str, list[str]]] = []
    goes_on = False
    for line in block.text.splitlines():
        if goes_on:
            command, shown = found[-1]
            found[-1] = (f"{command}\n{line}", shown)
        elif line.startswith("$ "):
            found.append((line[2:], []))
        elif found:
            found[-1][1].append(line)
        elif line.strip():
            raise Wrong(f"{block.where}: a console block starts with a command, a line that starts with '$ '")
        goes_on = line.endswith("\\") and (goes_on or line.startswith("$ "))
    if not found:
        raise Wrong(f"{block.where}: a console block without a command")
    return found


def _shell(block: Block, script: str, folder: Path) -> str:
    ours = OURS.match(script) and not SHELL.search(re.sub(r"'[^']*'", "", script))
    code, printed = _here(script) if ours else _there(script, folder)
    expected = int(block.says("exits") or 0)
    if code != expected:
        raise Wrong(f"{block.where}: exit status {code}, not {expected}, from:\n{script}\n{printed}")
    return printed


def _here(command: str) -> tuple[int, str]:
    """Status and output of one of our commands: in this process, for a new one takes longer than most commands."""
    name, *argv = shlex.split(command.replace("\\\n", " "))
    main = import_module(f"{name}.cli").main
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            code = main(argv)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return code, printed.getvalue()


def _there(script: str, folder: Path) -> tuple[int, str]:
    """Status and output of a script in a shell."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=os.environ | {"PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    return done.returncode, done.stdout


def compare(where: str, shown: list[str], printed: str) -> None:
    """Every shown line must be printed, in this order; numbers, spaces and empty lines do not count."""
    rest = iter([masked(line) for line in printed.splitlines()])
    for line in shown:
        if masked(line) in ("", "..."):
            continue
        if masked(line) not in rest:  # reads on to the line that matches
            raise Wrong(f"{where}: shows a line that is not printed (there):\n{line}\nprinted:\n{printed}")


def masked(line: str) -> str:
    """A line with every number, or hexadecimal digest, as # and every run of spaces as one."""
    return re.sub(r"\s+", " ", NUMBER.sub("#", line)).strip()
