"""Laws of a user's own file on the command line, and laws as pages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling import lawpages
from scaling.cli import main
from scaling.errors import ScalingError
from scaling.lawfile import laws_of_file, own_laws
from scaling.laws import LAWS

ROOT = Path(__file__).parents[1]
MINE = '''
import scaling

@scaling.law(cite="mine", predicts="score", unit="1")
def mine(D, *, E: scaling.Floor, B: scaling.Scale, beta: scaling.Exponent):
    """score(D) = E + B / D^beta"""
    return E + B * D**-beta
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    d = np.geomspace(1e8, 1e11, 12)
    pd.DataFrame({"D": d, "points": 1.7 + 400 * d**-0.3}).to_csv(tmp_path / "runs.csv", index=False)
    (tmp_path / "mylaw.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *argv: str) -> tuple[int, str, str]:
    code = main(argv)
    out = capsys.readouterr()
    return code, out.out, out.err


def test_a_law_of_a_file_is_fitted_written_and_read_back(folder: Path, capsys) -> None:
    before = set(LAWS)
    named = ("--law-file", "mylaw.py")
    code, out, _ = run(capsys, "fit", "mine", "runs.csv", *named, "--loss", "points", "-o", "fit.json")
    assert code == 0 and "mine: score(D)" in out
    assert run(capsys, "fit", "runs.csv", *named, "--map", "score=points")[0] == 0  # the file's only law
    code, out, _ = run(capsys, "forecast", "fit.json", *named, "--at", "D=1e12", "--resamples", "40")
    assert code == 0 and "score" in out.splitlines()[0] and "loss" not in out.splitlines()[0]
    code, _, err = run(capsys, "forecast", "fit.json", "--at", "D=1e12")
    assert code == 1 and "--law-file FILE.py, which executes that file" in err
    assert "mine" in run(capsys, "laws", *named)[1]
    assert set(LAWS) == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "there is no file other.py"),
        ("x = 1", "declares no law"),
        ("def broken(:", "other.py, line 1"),
        ("raise RuntimeError('boom')", "failed: RuntimeError: boom"),
        ("from scaling.laws.hoffmann2022 import chinchilla", "declares no law"),
        (MINE.replace("def mine", "def chinchilla"), "declares chinchilla, a name that is taken"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(folder: Path, capsys, text: str | None, says: str) -> None:
    if text is not None:
        (folder / "other.py").write_text(text)
    code, _, err = run(capsys, "fit", "mine", "runs.csv", "--law-file", "other.py")
    assert code == 1 and says in err and len(err.splitlines()) == 1


def test_an_error_inside_a_files_law_is_said_with_its_line(folder: Path, capsys) -> None:
    (folder / "mylaw.py").write_text(MINE.replace("D**-beta", "D**-betta"))
    code, _, err = run(capsys, "fit", "mine", "runs.csv", "--map", "score=points", "--law-file", "mylaw.py")
    assert code == 1 and len(err.splitlines()) == 1
    assert "mylaw.py, line 7: NameError: name 'betta' is not defined" in err


def test_of_several_laws_in_a_file_one_must_be_named(folder: Path, capsys) -> None:
    (folder / "two.py").write_text(MINE + MINE.replace("def mine", "def other").replace("import scaling", ""))
    assert [one.name for one in laws_of_file("two.py")] == ["mine", "other"]
    code, _, err = run(capsys, "fit", "runs.csv", "--law-file", "two.py", "--loss", "points")
    assert code == 1 and "declares mine, other; say which" in err
    assert run(capsys, "fit", "other", "runs.csv", "--law-file", "two.py", "--loss", "points")[0] == 0


def test_a_files_laws_are_forgotten_after_an_error(folder: Path) -> None:
    with pytest.raises(ScalingError), own_laws("mylaw.py"):
        assert "mine" in LAWS
        raise ScalingError("anything")
    assert "mine" not in LAWS


def test_help_says_that_the_file_is_executed(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    assert "this executes the file" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("family", lawpages.by_family(list(LAWS.values())))
def test_a_page_is_what_the_declarations_say(family: str) -> None:
    laws = lawpages.by_family(list(LAWS.values()))[family]
    written = (ROOT / "docs" / "laws" / f"{lawpages.stem(family)}.md").read_text()
    assert written == lawpages.page(family, laws), "run: python -m scaling.lawpages docs"
    figure = ROOT / "docs" / "figures" / f"laws-{lawpages.stem(family)}.png"
    assert 1000 < figure.stat().st_size < 40_000


def test_pages_are_listed_where_readers_look() -> None:
    for path, lines, comment in lawpages.lists(ROOT / "docs"):
        assert lawpages.between(path.read_text(), lines, comment) == path.read_text(), path.name
    pages = {path.stem for path in (ROOT / "docs" / "laws").glob("*.md")}
    assert pages == {lawpages.stem(family) for family in lawpages.by_family(list(LAWS.values()))}


def test_every_law_can_be_drawn() -> None:
    from scaling.lawplots import sheet

    some = [LAWS[name] for name in ("chinchilla", "cpt", "tissue", "tao")]
    assert sheet(some)[1:4] == b"PNG"


def test_a_law_in_full_says_what_it_reads_predicts_and_what_to_use_instead() -> None:
    text = lawpages.law_text(LAWS["tao"])
    for part in (
        "predicts loss_u, nats/token, which may be 0 or negative",
        "instead  chinchilla",
        "3.3e+07 to 1.1e+09",
    ):
        assert part in text
    assert "made up, to try" in lawpages.law_text(LAWS["farseer"])
    assert "may be 0 S1_cpt, S2_pt, S2_cpt" in lawpages.law_text(LAWS["cpt"])
