"""`scaling report`: from a table to a page, in a real browser too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling.cli import main
from tests.browser import Browser, find_browser
from tests.test_cli import run
from tests.test_curves import curves
from tests.test_fit import runs

EVIL = "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>$\\frac{"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs.html with a name that attacks, and curves.html."""
    folder = tmp_path_factory.mktemp("pages")
    table = runs().assign(C=lambda t: 6 * t["N"] * t["D"])
    table["run"] = [f"run{i}" for i in range(len(table))]
    table.loc[3, "loss"] = np.nan
    table.loc[[3, 5], "run"] = EVIL
    table["group"] = np.where(table["C"] > 2e20, EVIL, "grid")
    table.to_csv(folder / "runs.csv", index=False)
    curves().to_csv(folder / "curves.csv", index=False)
    out = str(folder / "runs.html")
    argv = ["report", str(folder / "runs.csv"), "--flops", "1e22,1e24", "--question", f"Is it <b>worth</b> it? {EVIL}"]
    assert main([*argv, "--at", "N=7e10,D=1.4e12", "--resamples", "40", "-o", out]) == 0
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium is installed: pages are not looked at (apt-get install chromium)")
    made = Browser(path)
    yield made
    made.close()


def test_the_page_answers_what_was_asked(pages: Path) -> None:
    text = (pages / "runs.html").read_text()
    for section in ("Question", "Data", "Candidate laws", "Fit", "Forecasts", "Optimum", "How it was made"):
        assert f"<h2>{section}</h2>" in text
    assert "Is it &lt;b&gt;worth&lt;/b&gt; it?" in text
    assert "Rows left out" in text and "loss is missing" in text
    assert "chinchilla" in text and "7e+10" in text and "1e+24" in text
    assert "sha256" in text and "numpy" in text and "scaling report" in text
    for source in ("runs.csv", "fit.json"):  # the stack's forecast, which the page opens with, and the law's
        assert f"scaling forecast {source} --at N=7e+10,D=1.4e+12" in text
    assert text.count('<svg role="img" aria-label="') == text.count("<svg ") >= 7
    assert len(text) < 3_000_000


@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_opens_without_errors_and_fits_its_window(pages: Path, browser: Browser, width: int) -> None:
    browser.open(pages / "runs.html", width=width)
    assert browser.console == []
    assert all(url.startswith(("file:", "data:")) for url in browser.requests)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("window.pwned") is None
    shown = browser.run("document.body.innerText")
    for number in ("chinchilla", "N = 70B, D = 1.4T", "best size for 1e+22 FLOP"):
        assert number in shown
    assert browser.run("[...document.querySelectorAll('figure svg')].every(s => s.getBoundingClientRect().height > 80)")
    assert browser.run("[...document.querySelectorAll('body *')].every(e => e.closest('.wide, pre, details') || "
                       "e.getBoundingClientRect().right <= innerWidth + 1)")  # fmt: skip
    if width == 1400:  # a wide window shows the tables of answers whole
        assert browser.run("[...document.querySelectorAll('#forecasts .wide, #optimum .wide')]"
                           ".every(e => e.scrollWidth <= e.clientWidth)")  # fmt: skip


def test_a_click_sorts_a_table_and_a_second_turns_it(pages: Path, browser: Browser) -> None:
    browser.open(pages / "runs.html")
    column = "[...document.querySelectorAll('#candidate-laws tbody tr')].map(r => r.cells[1].dataset.value * 1)"
    click = "document.querySelectorAll('#candidate-laws th button')[1].click()"
    browser.run(click)
    rising = browser.run(column)
    assert rising == sorted(rising) and len(set(rising)) > 2
    browser.run(click)
    assert browser.run(column) == rising[::-1]
    assert browser.run("document.querySelectorAll('#candidate-laws th')[1].ariaSort") == "descending"


def test_missing_cells_sort_last(pages: Path, browser: Browser) -> None:
    browser.open(pages / "runs.html")
    free = "[...document.querySelectorAll('#candidate-laws thead th')].findIndex(t => t.innerText.startsWith('free'))"
    for _ in range(2):
        browser.run(f"document.querySelectorAll('#candidate-laws th button')[{free}].click()")
        last = f"[...document.querySelectorAll('#candidate-laws tbody tr')].at(-1).cells[{free}].innerText"
        assert browser.run(last) == ""


@pytest.mark.parametrize(("dark", "paper"), [(False, "rgb(255, 255, 255)"), (True, "rgb(21, 23, 28)")])
def test_page_and_plots_follow_the_readers_theme(pages: Path, browser: Browser, dark: bool, paper: str) -> None:
    browser.open(pages / "runs.html", dark=dark)
    assert browser.run("getComputedStyle(document.body).backgroundColor") == paper
    ground = "getComputedStyle(document.querySelector('figure svg path')).fill"
    assert browser.run(ground) == paper


def test_the_policy_would_stop_a_script(pages: Path, browser: Browser, tmp_path: Path) -> None:
    text = (pages / "runs.html").read_text().replace("</footer>", "</footer><script>window.pwned = 1</script>")
    (tmp_path / "evil.html").write_text(text)
    browser.open(tmp_path / "evil.html")
    assert browser.run("window.pwned") is None
    assert any("Content Security Policy" in said for said in browser.console)


def test_a_table_of_curves_has_its_own_page(pages: Path, browser: Browser, capsys) -> None:
    out = pages / "curves.html"
    argv = ["report", str(pages / "curves.csv"), "--warmup", "100", "--law", "tissue", "--where", "step > 1000"]
    code, said, err = run(capsys, *argv, "--schedule", "cosine:steps=9000,peak=3e-4,warmup=100", "-o", str(out))
    assert (code, said) == (0, "") and "fitting tissue" in err and "wrote" in err
    browser.open(out, width=400)
    assert browser.console == [] and browser.run("document.documentElement.scrollWidth") <= 400
    shown = browser.run("document.body.innerText")
    assert "cosine:steps=9000,peak=3e-4,warmup=100" in shown and "tissue" in shown


def test_a_table_of_one_variable_is_forecast_along_it(tmp_path: Path, capsys) -> None:
    c = np.geomspace(1e18, 1e21, 12)
    table = pd.DataFrame({"C": c, "loss": 1.7 + (1e18 / c) ** 0.2, "steps": 100, "lr": 3e-4})
    table.to_csv(tmp_path / "c.csv", index=False)
    code, _, err = run(capsys, "report", str(tmp_path / "c.csv"), "-o", str(tmp_path / "c.html"), "--resamples", "20")
    text = (tmp_path / "c.html").read_text()
    assert code == 0, err
    assert "1e+23" in text and "<h2>Forecasts</h2>" in text and "<h2>Optimum</h2>" not in text


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["none.csv"], "there is no file none.csv"),
        (["runs.csv", "--at", "C=1e22"], "forecasts at N=.., D=..; got C"),
        (["runs.csv", "--schedule", "cosine:steps=90,peak=1"], "tables of curves"),
        (["runs.csv", "--law", "chinchila"], "did you mean chinchilla"),
        (["runs.csv", "--level", "2"], "between 0 and 1"),
        (["curves.csv", "--flops", "1e22"], "tables of runs"),
    ],
)
def test_a_report_that_cannot_be_is_refused_in_one_line(pages: Path, monkeypatch, capsys, argv, says: str) -> None:
    monkeypatch.chdir(pages)
    code, out, err = run(capsys, "report", *argv, "-o", "no.html")
    assert (code, out) == (1, "")
    assert says in err.splitlines()[-1] and err.splitlines()[-1].startswith("scaling: ")
    assert not (pages / "no.html").exists()
