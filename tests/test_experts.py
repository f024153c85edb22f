"""Data experts: losses of validation tokens that runs keep, and what experts give mixed, in the tables of a sweep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from scaling.errors import ScalingError, TableError
from scaling.experts import expert_mixture_loss, experts_on, mixed_losses, read_experts
from sweeps import collecting, records
from sweeps.cli import main
from sweeps.engine import Mode
from sweeps.plan import build_plan, flops_of
from sweeps.runs import Run
from sweeps.tokens import Part, Tokens
from sweeps.train import train_stack
from tests.stacks import a_run, a_text, alone, final, forked, opened

CPU = torch.device("cpu")
SHARES = {"code": 0.3, "web": 0.7}


def two_sources() -> Tokens:
    """Letters that climb, and letters that climb by other steps."""
    text = a_text()
    rng = np.random.default_rng(1)
    other = (np.cumsum(rng.integers(4, 6, 20_000)) % 96 + 32).astype(np.uint8)
    parts = (Part("code", 0, 18_000, 0, 2000), Part("web", 18_000, 18_000, 2000, 2000))
    return replace(
        text,
        train=np.concatenate([text.train, other[:18_000]]),
        validation=np.concatenate([text.validation, other[18_000:]]),
        parts=parts,
    )


TOKENS = two_sources()


def a_mixed_run(**changes: object) -> Run:
    return a_run(**{"steps": 40, "corpus": TOKENS.digest, "mixture": (("code", 1.0),), "dtype": "float32", **changes})


def experts(**changes: object) -> list[Run]:
    return [a_mixed_run(mixture=((name, 1.0),), token_losses=True, **changes) for name in SHARES]


def trained(out: Path, *runs: Run, **options: object) -> Path:
    records.write_manifest(out, TOKENS)
    plan = build_plan(runs)
    for stack in plan.stacks:
        for run in stack.runs:
            records.open_run(
                out, run, stack=stack.key, trunk=plan.trunk[run.key], flops=flops_of(run), flops_marginal=1.0
            )
        assert train_stack(stack, TOKENS, out, device=CPU, **options)  # type: ignore[arg-type]
    return out


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two experts, two mixtures of which one on another seed, and the second expert's twin that keeps nothing."""
    mixtures = [a_mixed_run(mixture=tuple(SHARES.items())), a_mixed_run(mixture=(("code", 0.5), ("web", 0.5)), seed=1)]
    yield trained(tmp_path_factory.mktemp("swept"), *experts(), *mixtures, a_mixed_run(mixture=(("web", 1.0),)))


def test_the_losses_kept_are_those_whose_means_are_the_final_losses(swept: Path) -> None:
    for run in experts():
        losses = records.read_token_losses(swept, run.key)
        assert losses is not None and losses.dtype == np.float32
        assert losses.shape == (run.val_sequences, run.context)
        end = final(swept, run)
        assert losses.mean() == pytest.approx(end["loss"], rel=1e-6)
        by_source = end["loss_by_source"]
        assert [losses[:3].mean(), losses[3:].mean()] == pytest.approx([by_source["code"], by_source["web"]], rel=1e-6)


def test_a_run_that_keeps_token_losses_shares_all_steps_with_one_that_does_not(swept: Path) -> None:
    keeps, twin = experts()[1], a_mixed_run(mixture=(("web", 1.0),))
    assert keeps.key != twin.key and build_plan([keeps, twin]).trunk[keeps.key] == build_plan([twin]).trunk[twin.key]
    assert len(build_plan([keeps, twin]).edges) == 1
    assert records.read_token_losses(swept, twin.key) is None
    assert final(swept, keeps)["loss"] == final(swept, twin)["loss"]


@pytest.mark.parametrize("options", [{"max_slots": 1}, {"mode": Mode(compile="on", backend="aot_eager")}])
def test_in_whatever_company_and_however_compiled_they_are_the_same(swept: Path, tmp_path: Path, options) -> None:
    run = experts()[0]
    found = records.read_token_losses(trained(tmp_path, run, **options), run.key)
    np.testing.assert_allclose(found, records.read_token_losses(swept, run.key), rtol=1e-3, atol=1e-5)  # float32


def test_a_stop_and_a_kill_change_none_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, asked = a_mixed_run(token_losses=True, dtype="float64"), list[int]()
    whole = records.read_token_losses(trained(tmp_path / "whole", run), run.key)
    assert whole is not None
    out = opened(tmp_path / "stopped", alone(run))
    assert not train_stack(alone(run), TOKENS, out, device=CPU, stopping=lambda: asked.append(0) or len(asked) > 3)
    assert records.read_token_losses(out, run.key) is None

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(records, "write_final", killed)
        with pytest.raises(KeyboardInterrupt):
            train_stack(alone(run), TOKENS, out, device=CPU)
    assert not records.is_done(out, run.key)
    np.testing.assert_array_equal(records.read_token_losses(out, run.key), whole)  # written before the final file
    (out / run.key / "token_losses.npy.0a.tmp").write_bytes(b"half")
    assert train_stack(alone(run), TOKENS, out, device=CPU) and records.is_done(out, run.key)
    np.testing.assert_array_equal(records.read_token_losses(out, run.key), whole)
    assert not list((out / run.key).glob("*.tmp"))


def test_a_fork_keeps_the_losses_of_its_own_end(tmp_path: Path) -> None:
    short, long = (a_mixed_run(steps=n, cooldown=5, token_losses=True) for n in (20, 40))
    stack = forked(short, long)
    assert train_stack(stack, TOKENS, opened(tmp_path, stack), device=CPU)
    for run in (short, long):
        losses = records.read_token_losses(tmp_path, run.key)
        assert losses is not None and losses.mean() == pytest.approx(final(tmp_path, run)["loss"], rel=1e-6)


def test_a_run_that_diverges_keeps_none(tmp_path: Path) -> None:
    run = a_mixed_run(token_losses=True, lr=1e30, clip=1e30)
    assert final(trained(tmp_path, run), run)["status"] == "diverged"
    assert records.read_token_losses(tmp_path, run.key) is None


def test_the_table_of_runs_has_the_loss_of_mixed_experts_on_every_source(swept: Path) -> None:
    runs, _ = collecting.collect(swept)
    assert list(runs.columns[-2:]) == ["mde_on_code", "mde_on_web"] and runs["mde_on_web"].notna().all()
    for name in SHARES:  # an expert's mixture is itself
        own = runs[runs[f"share_{name}"] == 1]
        np.testing.assert_allclose(own["mde_on_code"], own["loss_on_code"], rtol=1e-5)
        np.testing.assert_allclose(own["mde_on_web"], own["loss_on_web"], rtol=1e-5)
    losses = np.stack([records.read_token_losses(swept, run.key) for run in experts()], axis=-1)
    mixed = runs[runs["share_code"] == SHARES["code"]].iloc[0]
    for name, places in (("code", slice(0, 3)), ("web", slice(3, 6))):
        by_hand = expert_mixture_loss(np.exp(-losses[places].astype(float)).reshape(-1, 2), [0.3, 0.7])
        assert mixed[f"mde_on_{name}"] == pytest.approx(by_hand, rel=1e-12)
    assert (mixed[["mde_on_code", "mde_on_web"]] > 0).all()


def test_the_table_of_experts_gives_the_same_mixtures(swept: Path, tmp_path: Path, capsys) -> None:
    assert main(["collect", str(swept), "-o", str(tmp_path)]) == 0
    assert "experts.csv: 96 rows" in capsys.readouterr().out
    found = experts_on(read_experts(tmp_path / "experts.csv"), ("web", "code"))
    assert found.names == ("web", "code") and {k: v.shape for k, v in found.probabilities.items()} == {
        "code": (48, 2), "web": (48, 2)
    }  # fmt: skip
    runs = pd.read_csv(tmp_path / "runs.csv")
    mixed = mixed_losses(found, runs[["share_web", "share_code"]])
    for name in SHARES:
        np.testing.assert_allclose(mixed[name], runs[f"mde_on_{name}"], rtol=1e-6)
    assert main(["collect", str(swept), "--experts"]) == 0
    assert capsys.readouterr().out == (tmp_path / "experts.csv").read_text()


def test_runs_of_other_settings_have_the_only_experts_there_are_and_their_own_where_they_have_them(
    swept: Path, tmp_path: Path
) -> None:
    wide = {"width": 24, "base_width": 24}
    out = trained(tmp_path, *experts(), a_mixed_run(mixture=tuple(SHARES.items()), **wide))
    theirs = collecting.collect(out)[0].set_index("width")
    there = collecting.collect(swept)[0].set_index("share_code")["mde_on_web"][0.3]
    assert theirs["mde_on_web"][24] == pytest.approx(there, rel=1e-12)
    trained(out, *experts(**wide), *experts(seed=3))
    own = collecting.collect(out)[0].query("share_code == 0.3")["mde_on_web"].iloc[0]
    assert own != pytest.approx(there, rel=1e-3)
    with pytest.raises(ScalingError, match="there are 2 kinds"):
        collecting.collect_experts(out)
    said: list[str] = []
    assert not collecting.collect_experts(out, say=said.append) and "no experts.csv" in said[0]


def test_a_source_without_an_expert_leaves_its_mixtures_empty(tmp_path: Path, capsys) -> None:
    out = trained(tmp_path / "out", experts()[0], a_mixed_run(mixture=tuple(SHARES.items())))
    runs = collecting.collect(out)[0].set_index("share_code")
    assert np.isnan(runs["mde_on_web"][0.3]) and runs["mde_on_web"][1.0] > 0
    bare = trained(tmp_path / "bare", a_mixed_run(mixture=tuple(SHARES.items())))
    assert not [name for name in collecting.collect(bare)[0] if name.startswith("mde")]
    assert main(["collect", str(bare), "--experts"]) == 1
    assert "there are 0 kinds of them" in capsys.readouterr().err


def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    out = trained(tmp_path, experts()[0])
    path = out / experts()[0].key / "token_losses.npy"
    for content in (path.read_bytes()[:200], b"", b"no array"):
        path.write_bytes(content)
        with pytest.raises(records.DamagedError, match=r"token_losses.npy is damaged .*: remove its folder"):
            collecting.collect(out)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("a,b\n1,2\n", "has a column source and columns loss_of_NAME; .* has a, b"),
        ("source,loss_of_web\nweb,1\n", "there are experts on web and none on code"),
        ("source,loss_of_web,loss_of_code\nweb,1,\n", "some are missing or negative"),
        ("source,loss_of_web,loss_of_code\nweb,1,x\n", "some are missing or negative"),
        ("", "cannot read the table of experts"),
    ],
)
def test_a_table_that_is_none_of_experts_is_refused(tmp_path: Path, table: str, said: str) -> None:
    (tmp_path / "experts.csv").write_text(table)
    with pytest.raises(TableError, match=said):
        experts_on(read_experts(tmp_path / "experts.csv"), ("web", "code"))
