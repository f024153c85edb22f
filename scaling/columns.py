"""The vocabulary of tables: every column this project writes or reads, its unit and its meaning.

`docs/data-format.md` is checked against these records by a test, the writers in `sweeps` take their headers from
them, and the readers in `scaling` their errors. Step counts are indices of updates, starting at 0: a row at step s
stands after the update s, whose learning rate is `lr`, and after (s + 1) * tokens_per_step tokens.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column: its name in a CSV, its unit ("1" for a count or ratio, "" for text) and its meaning."""

    name: str
    unit: str
    meaning: str


def _columns(*records: tuple[str, str, str]) -> dict[str, Column]:
    return {name: Column(name, unit, meaning) for name, unit, meaning in records}


#: One row a run.
RUNS = _columns(
    ("run", "", "key of the run; unique in a table of runs"),
    ("N", "parameters", "parameters that multiply activations: all but the token embedding, the output head included"),
    ("D", "tokens", "training tokens, repeats counted"),
    ("C", "FLOP", "training compute, 6 N D"),
    ("U", "tokens", "unique training tokens that the run could see; where D is less, D of them were seen"),
    ("epochs", "1", "passes over them, D / U; below 1 where not all were seen"),
    ("loss", "nats/token", "final loss on the validation set"),
    ("loss_se", "nats/token", "standard error of `loss` from the finite validation set"),
    ("bits_per_byte", "bits/byte", "final validation loss per byte of text"),
    ("status", "", "finished, diverged or running"),
    ("group", "", "name of the grid block that asked for the run"),
    ("trunk", "", "runs with the same trunk share training steps, hence noise: resample and hold out by trunk"),
    ("seed", "1", "seed of the initial weights and of the data order"),
    ("width", "1", "residual stream width"),
    ("depth", "1", "transformer blocks"),
    ("head_dim", "1", "width of one attention head"),
    ("context", "tokens", "sequence length"),
    ("batch", "sequences", "sequences per update"),
    ("steps", "updates", "length of the run"),
    ("schedule", "", "learning-rate schedule by name"),
    ("lr", "1", "peak learning rate, before the factor of each parameter group"),
    ("warmup", "updates", "linear warm-up at the start"),
    ("cooldown", "updates", "steps of the final decay (wsd)"),
    ("weight_decay", "1", "decoupled weight decay"),
    ("N_total", "parameters", "all parameters, token embedding included"),
    ("N_embedding", "parameters", "parameters of the token embedding"),
    ("flops", "FLOP", "training compute of the run trained alone, attention included"),
    ("flops_marginal", "FLOP", "training compute the run added, steps shared with other runs split off"),
    ("corpus", "", "digest of the corpus; losses on different digests do not compare"),
)

#: Begin the columns that named sources add to the table of runs, one a source: its share of the training sequences,
#: the final loss on its part of the validation set, and the loss of mixed experts there.
SHARE_OF, LOSS_ON, MDE_ON = "share_", "loss_on_", "mde_on_"

#: One row a logged step of a run.
CURVES = _columns(
    ("run", "", "key of the run"),
    ("step", "updates", "index of the update, from 0"),
    ("tokens", "tokens", "tokens trained on after this update"),
    ("lr", "1", "learning rate of this update, before the factor of each parameter group"),
    ("train_loss", "nats/token", "loss on the batch of this update, before the update"),
    ("val_loss", "nats/token", "loss on the fixed validation set after this update; empty where not evaluated"),
    ("val_loss_se", "nats/token", "standard error of `val_loss` from the finite validation set"),
    ("val_bits_per_byte", "bits/byte", "`val_loss` per byte of text"),
    ("grad_norm", "1", "norm of the gradient before clipping"),
    ("flops", "FLOP", "training compute so far, attention included, as if the run were trained alone"),
    ("seconds", "s", "training time of the stack so far; the only column that differs when a run is repeated"),
)

#: Further columns of the curves of runs that were asked for them, by the name of what measures them.
MEASURED = {
    "representation": _columns(
        ("matrix_entropy", "nats", "entropy of the spectrum of the last hidden states, on validation text"),
        ("effective_rank", "1", "exp of `matrix_entropy`"),
        ("nuclear_norm", "1", "sum of singular values of these states, centred, each token of length 1"),
        ("nuclear_norm_bound", "1", "sum of their largest column norms: bounds `nuclear_norm` from above"),
    ),
    "gradient_noise": _columns(
        ("gradient_signal", "1", "squared norm of the expected gradient, from two half-batches; may be negative"),
        (
            "gradient_noise",
            "tokens",
            "trace of the gradient's covariance per token; over `gradient_signal`: noise scale",
        ),
    ),
}
