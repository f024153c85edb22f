"""What holds for every regime: company, forks, stops and compilers change nothing, and its columns are described."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scaling import flops
from scaling.errors import ScalingError
from sweeps.cadence import EIGENVALUE_FLOPS, price
from sweeps.collecting import collect
from sweeps.counting import flops_per_token, parameter_counts, parameter_groups
from sweeps.engine import Mode
from sweeps.grid import OPTIONS, read_grid
from sweeps.model import views
from sweeps.plan import build_plan
from sweeps.regimes.listed import REGIMES, regime_of, settings_of
from sweeps.runs import Run
from sweeps.starting import initial
from sweeps.train import on_device, train_stack
from tests.stacks import a_run, a_text, alone, curve, final, forked, opened
from tests.stepping import stepped

CPU = torch.device("cpu")
TOKENS = a_text()
#: Fields of a small run of each regime, beyond those of `a_run`.
EXAMPLES: dict[str, dict[str, object]] = {
    "autoregressive": {},
    "diffusion": {"options": (("noise_draws", 2),)},
    "span_corruption": {"context": 24, "options": (("noise_density", 0.4),)},
}
DOCS = Path(__file__).parents[1] / "docs" / "regimes"
every = pytest.mark.parametrize("name", list(REGIMES))


def example(name: str, **changes: object) -> Run:
    return a_run(**{"objective": name, "batch": 4, **EXAMPLES[name], **changes})


def trained(out: Path, *runs: Run, **options: object) -> Path:
    stack = forked(*runs) if len(runs) > 1 else alone(runs[0])
    assert train_stack(stack, TOKENS, opened(out, stack), device=CPU, **options)  # type: ignore[arg-type]
    return out


def losses(out: Path, run: Run) -> list[list[float]]:
    return [[float(row[c]) for c in ("train_loss", "grad_norm") if row[c]] for row in curve(out, run)]


def test_every_regime_has_an_example() -> None:
    assert EXAMPLES.keys() == REGIMES.keys()


@every
def test_a_run_in_a_stack_and_off_a_fork_is_the_run_alone(name: str, tmp_path: Path) -> None:
    runs = [example(name, steps=40, cooldown=10), example(name, steps=25, cooldown=5), example(name, steps=30, seed=1)]
    assert len(forked(*runs).edges) > len(runs)
    trained(tmp_path / "together", *runs, max_slots=2)
    for run in runs:
        trained(tmp_path / run.key, run)
        # float64: rounding grows by no more than a factor 1e6 over so few updates
        np.testing.assert_allclose(losses(tmp_path / "together", run), losses(tmp_path / run.key, run), rtol=1e-9)
        ends = [final(tmp_path / where, run)["loss"] for where in ("together", run.key)]
        assert ends[0] == pytest.approx(ends[1], rel=1e-9)


@every
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(name: str, tmp_path: Path) -> None:
    run, asked = example(name, steps=30, cooldown=5), list[int]()
    trained(tmp_path / "whole", run)
    stack = alone(run)
    out = opened(tmp_path / "stopped", stack)
    stopped = train_stack(stack, TOKENS, out, device=CPU, stopping=lambda: asked.append(0) or len(asked) > 3)
    assert not stopped and train_stack(stack, TOKENS, out, device=CPU)
    assert losses(out, run) == losses(tmp_path / "whole", run)  # bitwise
    assert final(out, run)["loss"] == final(tmp_path / "whole", run)["loss"]


@every
def test_a_compiled_step_is_the_plain_step_without_breaks(name: str) -> None:
    runs = [example(name, seed=seed, depth=2) for seed in range(2)]
    modes = (Mode(), Mode(compile="on", backend="aot_eager"))
    for plainly, compiled in zip(*(stepped(runs, mode, TOKENS) for mode in modes), strict=True):
        np.testing.assert_allclose(plainly, compiled, rtol=1e-9)


@every
def test_what_a_run_learns_from_is_its_seed_s_and_the_update_s_alone(name: str) -> None:
    run, regime = example(name), REGIMES[name]
    whole = regime.draws(run, TOKENS, 0, 80)
    assert len(whole) == 80 and whole.shape[1] == run.batch
    np.testing.assert_array_equal(whole[37:39], regime.draws(run, TOKENS, 37, 2))
    assert not np.array_equal(whole, regime.draws(example(name, seed=1), TOKENS, 0, 80))
    text = on_device(TOKENS, run, CPU).train
    both = torch.from_numpy(np.stack([whole[3], whole[5]]))
    one = regime.gather(text, both[1:], run)
    assert torch.equal(regime.gather(text, both, run)[1:], one)  # whatever is drawn beside it
    inputs = regime.validation(run, TOKENS)
    assert len(inputs) == run.val_sequences and one.shape[1] == run.batch
    np.testing.assert_array_equal(inputs, regime.validation(example(name, seed=7), TOKENS))


@every
def test_losses_and_states_have_the_shapes_they_promise(name: str) -> None:
    run, regime = example(name), REGIMES[name]
    flat = torch.stack([initial(run), initial(run)])
    weights = views(flat, regime.weights(run), run)
    inputs = torch.from_numpy(regime.validation(run, TOKENS)[:3])
    inputs = inputs.expand(2, *inputs.shape)
    values = regime.losses(weights, inputs, run)
    assert values.shape[:2] == (2, 3) and torch.isfinite(values).all()
    # an untrained head gives every token it can name the same chance: the loss is the logarithm of how many there are
    assert float(values.mean()) == pytest.approx(np.log(weights["head"].shape[-1]), rel=1e-6)
    assert regime.states(weights, inputs, run).shape[::2] == (2, run.width)


@every
def test_parameters_and_flop_are_those_of_the_weights(name: str) -> None:
    run = example(name, depth=2)
    size = REGIMES[name].weights(run)[-1]
    assert parameter_counts(run)["chinchilla"] == size.start + size.size == initial(run).numel()
    assert parameter_groups(run)["head"] == run.width * run.vocab or name == "span_corruption"
    counted = flops_per_token(run)
    reference = flops.flops_per_token(parameter_groups(run), width=run.width, depth=run.depth, context=run.context)
    assert counted.keys() == reference.keys() and min(counted.values()) > 0
    assert counted["6N_with_attention"] > counted["6N"] or not REGIMES[name].whole_text  # all tokens meet all weights


@every
def test_settings_of_its_own_are_columns_and_are_described(name: str, tmp_path: Path) -> None:
    run = example(name, steps=6)
    regime = REGIMES[name]
    runs, _ = collect(trained(tmp_path, run))
    own = settings_of(run).model_dump() | regime.row(run)
    assert {column: runs[column].iloc[0] for column in own} == own
    assert set(own) == {*regime.settings.model_fields, *regime.columns}
    text = "".join(path.read_text() for path in DOCS.glob("*.md"))
    for field, info in regime.settings.model_fields.items():
        assert info.description and f"`{field}`" in text
    assert all(f"`{column}`" in text for column in regime.columns)


def grid(tmp_path: Path, lines: str) -> Path:
    text = "# Is it refused?\nwidth = 16\nhead_dim = 8\ndepth = 1\ncontext = 16\nlr = 0.01\nsteps = 8\n"
    (tmp_path / "grid.toml").write_text(text + lines)
    return tmp_path / "grid.toml"


def test_settings_of_a_regime_are_axes_and_defaults_make_no_second_run(tmp_path: Path) -> None:
    path = grid(tmp_path, 'objective = ["autoregressive", "diffusion"]\nnoise_draws = [2, 4]\n')
    runs = read_grid(path).runs
    assert [(run.objective, run.options) for run in runs] == [
        ("autoregressive", ()),
        ("diffusion", (("noise_draws", 2),)),
        ("diffusion", ()),
    ]
    assert len({run.shape for run in runs}) == 3


@pytest.mark.parametrize(
    "lines, said",
    [
        ('objective = "difusion"', "there is no objective 'difusion'; did you mean diffusion?"),
        ("noise_draws = 2", "above the blocks: noise_draws is read by the objective diffusion only, and no run has it"),
        ('measures = "representation"', "must be a list, as in measures = [...]"),
        ('measures = ["representaton"]', "did you mean representation?"),
        ('[[grid]]\nname = "a"\nnoise_draws = 2', "noise_draws is read by the objective diffusion only"),
        ('objective = "diffusion"\nnoise_draws = 0', "noise_draws = 0: must be greater than 0"),
        ('weight_format = "none+int4"', "there is no format 'none' in 'none+int4'"),
        ('objective = "diffusion"\nleast_hidden = 1.5', "least_hidden = 1.5: must be less than 1"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_with_the_reason(tmp_path: Path, lines: str, said: str) -> None:
    with pytest.raises(ScalingError) as caught:
        read_grid(grid(tmp_path, lines))
    assert said in str(caught.value)


def test_no_two_regimes_mean_different_things_by_one_setting() -> None:
    fields = Run.model_fields.keys()
    for name, readers in OPTIONS.items():
        assert name not in fields
        infos = [REGIMES[reader].settings.model_fields[name] for reader in readers]
        assert all(info.annotation == infos[0].annotation for info in infos)


def test_a_regime_that_is_not_listed_is_named() -> None:
    with pytest.raises(ScalingError, match="there is no objective"):
        regime_of(a_run(objective="nothing"))


def test_a_reason_of_the_regime_names_the_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(run: Run) -> None:
        raise ScalingError("not today")

    monkeypatch.setitem(REGIMES, "autoregressive", replace(REGIMES["autoregressive"], check=refuse))
    with pytest.raises(ScalingError, match=r"\[\[grid\]\] 1 \(grid\): not today"):
        read_grid(grid(tmp_path, ""))


def test_a_plan_counts_every_pass_of_a_validation(tmp_path: Path) -> None:
    def cost(draws: int) -> float:
        text = f'objective = "diffusion"\nnoise_draws = {draws}\n'
        return build_plan(read_grid(grid(tmp_path, text)).runs).flops_validation

    assert cost(6) == pytest.approx(3 * cost(2))


def test_a_measure_costs_every_pass_of_a_validation_input() -> None:
    fields = dict(measures=("representation",), width=16)
    two, six = (price(example("diffusion", options=(("noise_draws", k),), **fields)) for k in (2, 6))
    eigenvalues = EIGENVALUE_FLOPS * 16**3
    assert six - eigenvalues == pytest.approx(3 * (two - eigenvalues))
