"""Logs made by the real libraries, small enough to keep: what the readers of `scaling` are tested on.

    python -m venv logs
    logs/bin/pip install torch wandb tensorboard mlflow-skinny sqlalchemy alembic transformers accelerate lightning
    logs/bin/python tests/logs/make.py tests/logs [NAME ..]

with NANOGPT=FOLDER naming a checkout of github.com/karpathy/nanoGPT, for its log, and NANOCHAT=FOLDER one of
github.com/karpathy/nanochat, which also needs rustbpe, kernels, tiktoken, pyarrow and psutil.

Nothing is fetched or sent: models start from random weights, W&B runs offline. Every log is of a tiny language model
on random tokens, of the sizes in SIZES, so the losses mean nothing; the formats do. Names, steps and settings are
fixed; losses repeat on one version of torch. The versions that made the files are in the README beside this one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

os.environ |= {
    "WANDB_MODE": "offline", "WANDB_SILENT": "true", "HF_HUB_OFFLINE": "1", "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "CUDA_VISIBLE_DEVICES": "",
}  # fmt: skip

import torch

VOCAB, CONTEXT, BATCH, STEPS, EVERY = 64, 16, 8, 40, 5
SIZES = {"small": {"n_layer": 1, "n_head": 2, "n_embd": 8}, "large": {"n_layer": 2, "n_head": 2, "n_embd": 16}}


class Tiny(torch.nn.Module):
    """Enough of a language model to have a falling loss."""

    def __init__(self, n_layer: int, n_head: int, n_embd: int) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(VOCAB, n_embd)
        layer = torch.nn.TransformerEncoderLayer(n_embd, n_head, 4 * n_embd, dropout=0.0, batch_first=True)
        self.blocks = torch.nn.TransformerEncoder(layer, n_layer, enable_nested_tensor=False)
        self.head = torch.nn.Linear(n_embd, VOCAB, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        mask = torch.nn.Transformer.generate_square_subsequent_mask(tokens.shape[1] - 1)
        logits = self.head(self.blocks(self.embedding(tokens[:, :-1]), mask=mask, is_causal=True))
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def batch(seed: int) -> torch.Tensor:
    """Tokens that have something to learn: the square root of a uniform variable, so that large ones are likelier."""
    uniform = torch.rand(BATCH, CONTEXT + 1, generator=torch.Generator().manual_seed(seed))
    return (uniform.sqrt() * VOCAB).long()


def training(size: str) -> Iterator[tuple[int, float, float, float | None]]:
    """step, learning rate, training loss, and validation loss every few steps (else None)."""
    torch.manual_seed(0)
    model = Tiny(**SIZES[size])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS, eta_min=1e-3)
    for step in range(STEPS + 1):
        with torch.no_grad():
            val = float(model(batch(-1))) if step % EVERY == 0 else None
        loss = model(batch(step))
        yield step, optimizer.param_groups[0]["lr"], float(loss.detach()), val
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def config(size: str) -> dict[str, object]:
    return {**SIZES[size], "vocab_size": VOCAB, "block_size": CONTEXT, "batch_size": BATCH, "max_iters": STEPS}


def make_wandb(folder: Path) -> None:
    import wandb

    for size in SIZES:
        settings = wandb.Settings(disable_git=True, save_code=False, console="off", x_disable_stats=True,
                                  x_disable_meta=True, x_disable_machine_info=True)  # fmt: skip
        run = wandb.init(project="tiny", name=f"gpt-{size}", id=f"tiny{size}", dir=folder, config=config(size),
                         mode="offline", settings=settings)  # fmt: skip
        for step, lr, loss, val in training(size):
            row = {"iter": step, "train/loss": loss, "lr": lr}
            run.log(row if val is None else row | {"val/loss": val})
        run.finish()
    for rest in [*folder.rglob("files"), *folder.rglob("logs")]:  # names of packages, paths
        shutil.rmtree(rest)


def make_wandb_files(folder: Path) -> None:
    """The two files that an online run leaves beside its log: written by W&B's own code, without a server."""
    from wandb.sdk.lib.config_util import save_config_file_from_dict

    for size in SIZES:
        files = folder / f"run-20260101_000000-tiny{size}" / "files"
        files.mkdir(parents=True)
        settings = {name: {"desc": None, "value": value} for name, value in config(size).items()}
        save_config_file_from_dict(str(files / "config.yaml"), settings)
        *_, (step, lr, loss, val) = training(size)
        summary = {"iter": step, "train/loss": loss, "val/loss": val, "lr": lr, "_step": step, "_wandb": {"runtime": 1}}
        (files / "wandb-summary.json").write_text(json.dumps(summary))


def make_wandb_exports(folder: Path) -> None:
    """By hand, as W&B's pages write them (no server here): a chart's CSV, and the CSV of the table of runs."""
    curves = {size: list(training(size)) for size in SIZES}
    with (folder / "chart.csv").open("w") as file:
        names = [f"gpt-{size} - val/loss{edge}" for size in SIZES for edge in ("", "__MIN", "__MAX")]
        print(",".join(f'"{name}"' for name in ["Step", *names]), file=file)
        for step in range(0, STEPS + 1, EVERY):
            print(",".join(f'"{v}"' for v in [step, *(curves[s][step][3] for s in SIZES for _ in range(3))]), file=file)
    with (folder / "runs.csv").open("w") as file:
        print(
            '"Name","State","Notes","User","Tags","Created","Runtime","n_layer","n_embd","vocab_size","val/loss"',
            file=file,
        )
        for size in SIZES:
            c = config(size)
            row = [f"gpt-{size}", "finished", "-", "someone", "", "2026-01-01T00:00:00.000Z", 12,
                   c["n_layer"], c["n_embd"], c["vocab_size"], curves[size][-1][3]]  # fmt: skip
            print(",".join(f'"{v}"' for v in row), file=file)


def make_tensorboard(folder: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    for size in SIZES:
        with SummaryWriter(folder / f"gpt-{size}") as writer:
            for step, lr, loss, val in training(size):
                writer.add_scalar("train/loss", loss, step)
                writer.add_scalar("lr", lr, step)
                if val is not None:
                    writer.add_scalar("val/loss", val, step)
            writer.add_text("notes", "<b>not a scalar</b>", 0)
            writer.add_hparams(config(size), {"hparam/val_loss": val}, run_name=".")
    _without_host(folder)


def _without_host(folder: Path) -> None:
    """Event files are named by the machine that wrote them; nothing reads that."""
    for file in folder.rglob("events.out.tfevents.*"):
        parts = file.name.split(".")
        file.rename(file.with_name(".".join([*parts[:4], "host", *parts[5:]])))


def make_tensorboard_tensors(folder: Path) -> None:
    """Scalars as tensors, the way TensorFlow 2 writes them."""
    from tensorboard.summary import Writer

    writer = Writer(str(folder / "gpt-small"))
    for step, lr, _, val in training("small"):
        writer.add_scalar("learning_rate", lr, step)
        if val is not None:
            writer.add_scalar("eval_loss", val, step)
    writer.close()
    _without_host(folder)


def make_mlflow(folder: Path) -> None:
    import mlflow

    mlflow.set_tracking_uri((folder / "mlruns").as_uri())
    mlflow.set_experiment("tiny")
    for size in SIZES:
        with mlflow.start_run(run_name=f"gpt-{size}"):
            mlflow.log_params(config(size))
            for step, lr, loss, val in training(size):
                mlflow.log_metrics(
                    {"train/loss": loss, "lr": lr} | ({} if val is None else {"val/loss": val}), step=step
                )
    for tags in [*folder.rglob("tags"), folder / "mlruns" / "0"]:  # names of a person and of paths; an empty experiment
        shutil.rmtree(tags)
    for meta in folder.rglob("meta.yaml"):
        meta.write_text(
            meta.read_text().replace(folder.as_uri(), "file:///logs").replace("user_id: root", "user_id: me")
        )


def make_mlflow_database(folder: Path) -> None:
    """MLflow's store in SQLite, without the tables that nothing reads."""
    import sqlite3

    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.set_experiment("tiny")
    for size in SIZES:
        with mlflow.start_run(run_name=f"gpt-{size}"):
            mlflow.log_params(config(size))
            for step, lr, loss, val in training(size):
                if val is not None:
                    mlflow.log_metrics({"train/loss": loss, "lr": lr, "val/loss": val}, step=step)
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
        names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        for (name,) in names.fetchall():
            if name not in ("runs", "params", "metrics"):
                database.execute(f"DROP TABLE {name}")
        database.execute("UPDATE runs SET user_id = 'me', artifact_uri = 'logs'")
        database.commit()
        database.execute("PRAGMA page_size = 512")
        database.execute("VACUUM")


def make_huggingface(folder: Path) -> None:
    from torch.utils.data import Dataset
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    class Tokens(Dataset):
        def __len__(self) -> int:
            return BATCH * STEPS

        def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
            row = batch(i // BATCH)[i % BATCH, :CONTEXT]
            return {"input_ids": row, "labels": row}

    for size, shape in SIZES.items():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(
            GPT2Config(**shape, vocab_size=VOCAB, n_positions=CONTEXT, bos_token_id=0, eos_token_id=0)
        )
        out = folder / f"gpt-{size}"
        arguments = TrainingArguments(
            output_dir=str(out), max_steps=STEPS, per_device_train_batch_size=BATCH, learning_rate=1e-2,
            logging_steps=EVERY, eval_strategy="steps", eval_steps=EVERY, lr_scheduler_type="cosine", warmup_steps=4,
            save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True, include_num_input_tokens_seen="all",
            seed=0,
        )  # fmt: skip
        held = torch.utils.data.Subset(Tokens(), range(4 * BATCH))
        trainer = Trainer(model=model, args=arguments, train_dataset=Tokens(), eval_dataset=held)
        trainer.train()
        trainer.save_state()
        model.config.save_pretrained(out)


def make_lightning(folder: Path) -> None:
    import lightning
    from lightning.pytorch.callbacks import LearningRateMonitor
    from lightning.pytorch.loggers import CSVLogger
    from torch.utils.data import DataLoader

    class Module(lightning.LightningModule):
        def __init__(self, **settings: object) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.model = Tiny(**{name: settings[name] for name in SIZES["small"]})  # type: ignore[arg-type]

        def training_step(self, tokens: torch.Tensor, _: int) -> torch.Tensor:
            loss = self.model(tokens)
            self.log("train_loss", loss)
            return loss

        def validation_step(self, tokens: torch.Tensor, _: int) -> None:
            self.log("val_loss", self.model(tokens))

        def configure_optimizers(self) -> dict[str, object]:
            optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS, eta_min=1e-3)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def loader(seeds: Iterable[int]) -> DataLoader:
        return DataLoader([batch(seed) for seed in seeds], batch_size=None)

    for size in SIZES:
        torch.manual_seed(0)
        lightning.Trainer(
            max_steps=STEPS, val_check_interval=EVERY, log_every_n_steps=EVERY, accelerator="cpu", devices=1,
            logger=CSVLogger(folder, name=f"gpt-{size}", version=0), callbacks=[LearningRateMonitor("step")],
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        ).fit(Module(**config(size)), loader(range(STEPS)), loader([-1]))  # fmt: skip


def make_nanogpt(folder: Path) -> None:
    """nanoGPT itself, on random bytes."""
    import numpy as np

    program = Path(os.environ["NANOGPT"])
    data = program / "data" / "tiny"
    data.mkdir(exist_ok=True)
    for name in ("train", "val"):
        (np.random.default_rng(0).random(4096) ** 2 * VOCAB).astype(np.uint16).tofile(data / f"{name}.bin")
    flags = {
        "dataset": "tiny", "device": "cpu", "compile": False, "dtype": "float32", "eval_iters": 2,
        "eval_interval": EVERY, "log_interval": EVERY, "max_iters": STEPS, "lr_decay_iters": STEPS, "warmup_iters": 4,
        "batch_size": BATCH, "block_size": CONTEXT, "gradient_accumulation_steps": 1, "out_dir": "out",
        "always_save_checkpoint": False, **SIZES["small"],
    }  # fmt: skip
    command = [sys.executable, "train.py", *(f"--{name}={value}" for name, value in flags.items())]
    done = subprocess.run(command, cwd=program, capture_output=True, text=True, check=True)
    (folder / "gpt-small.log").write_text(done.stdout)


def make_nanochat(folder: Path) -> None:
    """nanochat itself: its tokenizer and its pretraining, on Python's library in place of its corpus."""
    import sysconfig
    import tempfile

    import pyarrow as pa
    import pyarrow.parquet as pq

    with tempfile.TemporaryDirectory() as base:
        shards = Path(base) / "base_data_climbmix"
        shards.mkdir()
        files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:160]
        text = [file.read_text(errors="replace")[:3000] for file in files]
        for i in range(2):  # the last shard is for validation
            pq.write_table(pa.table({"text": text[i::2]}), shards / f"shard_{i:05d}.parquet", row_group_size=20)
        flags = {
            "depth": 2, "aspect-ratio": 16, "head-dim": 16, "max-seq-len": 64, "device-batch-size": 4,
            "total-batch-size": 256, "eval-tokens": 1024, "eval-every": EVERY, "core-metric-every": -1,
            "sample-every": -1, "num-iterations": STEPS // 2, "warmup-steps": 4, "window-pattern": "L",
            "device-type": "cpu",
        }  # fmt: skip
        there = os.environ | {"NANOCHAT_BASE_DIR": base, "TORCHDYNAMO_DISABLE": "1"}
        for script in (["tok_train", "--vocab-size=512"], ["base_train", *(f"--{k}={v}" for k, v in flags.items())]):
            command = [sys.executable, "-m", f"scripts.{script[0]}", *script[1:]]
            done = subprocess.run(
                command, cwd=os.environ["NANOCHAT"], env=there, capture_output=True, text=True, check=True
            )
        (folder / "d2.log").write_text(done.stdout[done.stdout.index("COMPUTE_DTYPE") :])  # without its banner


MAKERS = {name.removeprefix("make_"): value for name, value in list(globals().items()) if name.startswith("make_")}


def main(arguments: list[str]) -> None:
    root, *names = arguments
    for name in names or MAKERS:
        folder = Path(root).resolve() / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        MAKERS[name](folder)
        print(name, "done")


if __name__ == "__main__":
    main(sys.argv[1:])
