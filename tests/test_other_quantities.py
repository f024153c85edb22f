"""Laws of what is no loss: learning rates, accuracies, losses below a reference; commands say what they predict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.cli import main
from scaling.laws import LAWS

RNG = np.random.default_rng(0)


def lr_table(noise: float = 0.02) -> pd.DataFrame:
    n, d = (v.ravel() for v in np.meshgrid(np.geomspace(6e7, 1e9, 5), np.geomspace(2e9, 1e11, 5)))
    lr = LAWS["steplaw_lr"](n, d, **LAWS["steplaw_lr"].published["li2025"])
    return pd.DataFrame({"N": n, "D": d, "lr_opt": lr * np.exp(noise * RNG.standard_normal(n.size))})


def vocabulary_table(noise: float = 0.005) -> pd.DataFrame:
    n, v, d = (
        x.ravel() for x in np.meshgrid(np.geomspace(3e7, 1e9, 5), np.geomspace(3e6, 1e8, 5), np.geomspace(5e8, 3e10, 5))
    )
    loss = LAWS["tao"](n, v, d, **LAWS["tao"].published["tao2024"])
    return pd.DataFrame({"N_nv": n, "N_v": v, "D": d, "loss_u": loss + noise * RNG.standard_normal(n.size)})


def test_a_forecast_of_what_may_be_negative_adds_its_interval() -> None:
    table = vocabulary_table()
    assert (table["loss_u"] < 0).any()
    fit = scaling.fit("tao", table, tie={"a1": "b"})
    assert fit.residual_sd == pytest.approx(0.005, rel=0.4)
    assert "nats/token (robust standard deviation of predicted - observed)" in fit.report()
    seen = scaling.forecast(scaling.bootstrap(fit, 60), N_nv=3e8, N_v=2e7, D=1e10).iloc[0]
    true = LAWS["tao"](3e8, 2e7, 1e10, **LAWS["tao"].published["tao2024"])
    assert seen["lo"] < true < seen["hi"]
    assert 2 * 1.6 * 0.005 < seen["hi"] - seen["lo"] < 0.06
    assert seen["loss"] == pytest.approx((seen["lo"] + seen["hi"]) / 2)


def test_a_law_of_learning_rates_has_no_optimal_size_and_is_not_ranked_with_losses() -> None:
    fit = scaling.fit("steplaw_lr", lr_table())
    assert fit.params["p_N"] == pytest.approx(-0.713, abs=0.02)
    with pytest.raises(scaling.ScalingError, match="predicts a loss; steplaw_lr reads N, D and predicts lr_opt"):
        scaling.optimum(fit, C=1e21)
    with pytest.raises(scaling.ScalingError, match="one positive quantity"):
        scaling.compare(["steplaw_lr", "chinchilla"], lr_table().assign(loss=3.0))
    with pytest.raises(scaling.TableError, match="steplaw_lr reads N, D, lr_opt"):
        scaling.fit("steplaw_lr", lr_table().rename(columns={"lr_opt": "other"}))


def test_the_commands_go_through_for_every_kind_of_law(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    lr_table().to_csv("lr.csv", index=False)
    vocabulary_table().to_csv("vocab.csv", index=False)
    losses = np.linspace(0.5, 1.2, 15)
    accuracy = LAWS["bhagia_accuracy"](losses, **LAWS["bhagia_accuracy"].published["hellaswag"])
    pd.DataFrame({"bpb": losses, "acc": accuracy + 0.003 * RNG.standard_normal(15)}).to_csv("task.csv", index=False)
    for argv, at in (
        (["steplaw_lr", "lr.csv"], "N=5e9,D=2e11"),
        (["tao", "vocab.csv", "--tie", "a1=b"], "N_nv=3e9,N_v=1e8,D=1e11"),
        (["bhagia_accuracy", "task.csv", "--map", "task_loss=bpb,accuracy=acc", "--fix", "b=0.99"], "task_loss=0.4"),
    ):
        assert main(["fit", *argv, "-o", "fit.json"]) == 0
        assert main(["forecast", "fit.json", "--at", at, "--resamples", "30"]) == 0
        assert LAWS[argv[0]].predicts in capsys.readouterr().out.split("standing")[1]
        assert main(["sensitivity", "fit.json"]) == 0
        assert main(["plot", "fit.json", "-o", "fit.png", "--resamples", "30"]) == 0
        assert Path("fit.png").stat().st_size > 5000
