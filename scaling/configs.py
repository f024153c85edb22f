"""N from a model's settings: width, depth and vocabulary as libraries name them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scaling.flops import decoder_groups, parameter_counts
from scaling.naming import plain

KEYS = {
    "width": ("n_embd", "d_model", "hidden_size", "model_dim", "dim_model", "embed_dim", "embedding_dim", "width"),
    "depth": ("n_layer", "n_layers", "num_layers", "num_hidden_layers", "depth"),
    "vocab": ("vocab_size", "n_vocab", "padded_vocab_size"),
    "hidden": ("d_ff", "n_inner", "intermediate_size", "ffn_hidden_size", "ffn_dim", "mlp_hidden_size"),
    "heads": ("n_head", "n_heads", "num_attention_heads", "num_heads"),
    "kv_heads": ("n_kv_head", "n_kv_heads", "num_key_value_heads", "num_kv_heads"),
    "head_dim": ("head_dim", "d_head"),
    "tied": ("tie_word_embeddings", "tie_embeddings", "tied_embeddings", "weight_tying"),
}
GATED_KEYS = ("hidden_act", "activation", "activation_function", "mlp_type", "model_type")
GATED = ("silu", "swiglu", "geglu", "swish", "llama", "llamamlp", "mistral", "qwen2", "qwen3", "gemma")
ROOTS = ("", "model_", "config_", "model_config_", "args_", "model_args_")


def with_sizes(table: pd.DataFrame) -> pd.DataFrame:
    """The table with N, N_total and N_embedding where it has none and its settings give them; `attrs["notes"]` says so.

    N is all parameters that multiply activations: all but the token embedding, the head included. Biases and the gains
    of norms, less than a percent, are left out. N_total counts the embedding too, once where
    the settings say that the head is tied to it.
    """
    columns = {plain(str(c)): c for c in reversed(list(table.columns))}
    found = {name: _first(columns, keys) for name, keys in KEYS.items()}
    if any(found[name] is None for name in ("width", "depth", "vocab")) or "N" in table:
        return table
    values = {
        name: pd.to_numeric(table[c], errors="coerce").to_numpy(float) for name, c in found.items() if c is not None
    }
    usable = np.ones(len(table), bool)
    for name in ("width", "depth", "vocab"):
        usable &= np.isfinite(values[name]) & (values[name] > 0)
    if not usable.any():
        return table
    gated = _gated(table, columns)
    rows = [_counts(values, i, bool(gated[i])) if usable[i] else (np.nan,) * 3 for i in range(len(table))]
    for name, column in zip(("N", "N_total", "N_embedding"), zip(*rows, strict=True), strict=True):
        if name not in table:
            table[name] = np.array(column)
    shown = ", ".join(str(found[name]) for name in ("depth", "width", "hidden", "vocab") if found[name] is not None)
    table.attrs["notes"] = (
        *table.attrs.get("notes", ()),
        f"N derived from {shown}: all matrices but the token embedding, the head included, no biases; N_total with it",
    )
    return table


def _counts(values: dict[str, np.ndarray], i: int, gated: bool) -> tuple[float, float, float]:
    def of(name: str, otherwise: float) -> float:
        value = values[name][i] if name in values else np.nan
        return float(value) if np.isfinite(value) and value > 0 else otherwise

    width = of("width", np.nan)
    heads = of("heads", 1.0)
    head_dim = of("head_dim", width / heads)
    groups = decoder_groups(
        width=width, depth=of("depth", np.nan), hidden=of("hidden", 4 * width), vocab=of("vocab", np.nan),
        inner=heads * head_dim, kv=of("kv_heads", heads) * head_dim, gated=gated,
    )  # fmt: skip
    counts = parameter_counts(groups)
    tied = bool(of("tied", 0.0))
    return float(counts["matmul"]), float(counts["matmul" if tied else "chinchilla"]), float(groups["embedding"])


def _gated(table: pd.DataFrame, columns: dict[str, str]) -> np.ndarray:
    """Whether the MLP of each row has a gate, hence three matrices, by the names of its activation or model."""
    found = np.zeros(len(table), bool)
    for key in GATED_KEYS:
        column = _first(columns, (key,))
        if column is not None:
            found |= table[column].astype(str).str.lower().isin(GATED).to_numpy()
    return found


def _first(columns: dict[str, str], keys: tuple[str, ...]) -> str | None:
    return next((columns[root + key] for root in ROOTS for key in keys if root + key in columns), None)
