"""Published measurements: where they lie, under which licence, and how they are read. Nothing of them is kept here.

A file is downloaded once from its public address at a fixed commit, checked by its SHA-256, and kept in the user's
cache. Where the variable SCALING_DATASETS names a folder that holds mirror/OWNER/REPOSITORY/COMMIT/PATH, that copy is
taken instead, after the same check.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from scaling.curves import read_curves
from scaling.errors import ScalingError, nearest
from scaling.reading import Reading
from scaling.table import read_table

VARIABLE = "SCALING_DATASETS"
EXTRA = "public"
ADDRESS = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class File:
    """One file of a data set: its path in the repository, its SHA-256, its size in bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, eq=False)
class Dataset:
    """A published data set.

    what     what was measured
    paper    the paper to cite
    licence  that of the repository; "none stated" means that the files may be read but not passed on
    columns  what the table has that laws read, and what a reader must know of it
    read     from paths by name of file to a table of `kind` "runs" or "curves"
    """

    name: str
    what: str
    paper: str
    licence: str
    repository: str
    commit: str
    files: tuple[File, ...]
    kind: str
    columns: str
    read: Callable[[Mapping[str, Path]], pd.DataFrame]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def address(self) -> str:
        """Where the files lie."""
        return f"{ADDRESS}/{self.repository}/{self.commit}"


def load(name: str) -> pd.DataFrame:
    """A published data set by name, as `read_table` or `read_curves` gives it; `scaling datasets` lists the names.

    `attrs["dataset"]` holds the record, with the paper to cite. ScalingError for a name that is unknown, a file that
    cannot be downloaded, or one that is not the published one.
    """
    if name not in DATASETS:
        raise ScalingError(f"there is no data set {name!r}; {nearest(name, DATASETS)}")
    found = DATASETS[name]
    table = found.read({file.path: fetched(found, file) for file in found.files})
    table.attrs["source"] = f"{name} ({found.paper})"
    table.attrs["dataset"] = found
    return table


def fetched(dataset: Dataset, file: File) -> Path:
    """A file of a data set on this machine, checked by its hash: from a mirror, the cache, or its address."""
    inside = f"{dataset.repository}/{dataset.commit}/{file.path}"
    named = os.environ.get(VARIABLE)
    copy = Path(named) / "mirror" / inside if named else None
    if copy and copy.is_file():
        if digest(copy) != file.sha256:
            raise ScalingError(f"{copy} is not the published file: its SHA-256 is {digest(copy)}, not {file.sha256}")
        return copy
    try:
        import pooch
    except ModuleNotFoundError:
        raise ScalingError(
            f"{dataset.name} is downloaded by pooch: pip install 'scaling-sweeps[{EXTRA}]', or set {VARIABLE} to a "
            f"folder that holds mirror/{inside}"
        ) from None
    url = f"{dataset.address}/{file.path}"
    pooch.get_logger().setLevel("WARNING")
    place = Path(pooch.os_cache("scaling-sweeps")) / inside
    try:
        return Path(pooch.retrieve(url, f"sha256:{file.sha256}", fname=place.name, path=place.parent))
    except ValueError:
        raise ScalingError(f"what {url} serves is not the published file: its SHA-256 is not {file.sha256}") from None
    except OSError as error:
        reason = str(error.strerror) if error.strerror else type(error).__name__
        raise ScalingError(
            f"cannot download {url} ({reason}); without a network, set {VARIABLE} to a folder with mirror/{inside}"
        ) from None


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- how each is read ---


def _besiroglu(paths: Mapping[str, Path]) -> pd.DataFrame:
    (path,) = paths.values()
    table = read_table(path)
    table["outlier"] = (table.index < 5).astype(int)
    return table


def _luo(paths: Mapping[str, Path]) -> pd.DataFrame:
    parts = []
    for inside, path in paths.items():
        folder, name = inside.split("/")[-2:]
        size, schedule = folder.removeprefix("csv_"), name.removesuffix(".csv")
        parts.append(pd.read_csv(path).assign(run=f"{size}M-{schedule}", N=float(size) * 1e6, schedule=schedule))
    curves = pd.concat(parts, ignore_index=True)
    fitted = ("constant_24000", "cosine_24000", "wsdcon_9")
    return read_curves(curves.assign(fitted=curves["schedule"].isin(fitted).astype(int)), warmup=2160)


def _steplaw(paths: Mapping[str, Path]) -> pd.DataFrame:
    (path,) = paths.values()
    return read_table(path, map={"run": "exp_name"})


def _misfitting(paths: Mapping[str, Path]) -> pd.DataFrame:
    (path,) = paths.values()
    return read_table(path, where="current_steps == total_steps")


def _clark(paths: Mapping[str, Path]) -> pd.DataFrame:
    (path,) = paths.values()
    columns = {"run": "hyper_id", "loss": "loss_validation", "N": "dense_parameter_count"}
    return read_table(path, reading=Reading(columns=columns, set={"E": "num_experts"}, final="last"))


_LUO = (
    ("csv_100/constant_24000", "034a75e2415373a9be1097e9d406f98524344f4718d200d3a188dcbd5115103b", 3527),
    ("csv_100/constant_72000", "52b5752009e1e4c396f15016e98897238fccb3816f58576ea944f03fe529dbc3", 11352),
    ("csv_100/cosine_24000", "dd544dc61a11fa138c98ac0b673d5512287062d2d2d2e9c2867976abc8c46e69", 6128),
    ("csv_100/cosine_72000", "2e637203b48b3e3a84063f49035cde2f6a40c69ecd15d95b6551774b9a279f44", 19761),
    ("csv_100/wsd_20000_24000", "e66df98c85dba705ebc85512c6a09a8ebec5675878a20d4d783c0bf80d031002", 4008),
    ("csv_100/wsdcon_18", "33cfea673dc0efde9e4fd74cc47d8daabdebfdc6d5a2659835bd780347f6e651", 2294),
    ("csv_100/wsdcon_3", "a1cbb8c730ae0628d69bb1d7aefadbad5cda5f6a92272f85203cd33d7b8f4912", 3235),
    ("csv_100/wsdcon_9", "510256497a0ea9d4270919fb37c56140e1b4d07e50b96b46334891ba316f144e", 2170),
    ("csv_100/wsdld_20000_24000", "0ef6b02e260ff5efa51a5885655ead8cf126a7e9c4ea3034d403e11852c06fe2", 3930),
    ("csv_25/constant_24000", "5a7c0b440751e258e7199eeefe9f0ae58520a2f2d64c5f81524d8d375f75f0ce", 3523),
    ("csv_25/constant_72000", "99ee51a9be7b7fb71511d0af28edd6bc6221350d2ad26a66c615467cb5c83247", 11364),
    ("csv_25/cosine_24000", "554e35f9efbe28a614c9ae1121b3bf55490df6b72a5898957f68a52770038e3a", 6135),
    ("csv_25/cosine_72000", "af3b25a485966a0f7fc34824774cf8ec85af14848a6dc7b64d6a8d3d044befa5", 19747),
    ("csv_25/wsd_20000_24000", "8649b7de4b4b31db5c35f4ff0458af9472a50168177de6372c3ceb37ace9fc62", 3988),
    ("csv_25/wsdcon_18", "9b9bd40f519d20ecbf540d4c9451f6a01b7b379b1d335407ba4651025cc5926f", 1992),
    ("csv_25/wsdcon_3", "3d37fcf82c237e5c1ba2ee34c4b9e606ecba781536d4fea9a7dde5463207fc3d", 2719),
    ("csv_25/wsdcon_9", "b7579f38b5e175d9e9dc9b9598b409efdf2cba0a68819857ba28649c242c2bd8", 1889),
    ("csv_25/wsdld_20000_24000", "8e3a9ae33ed586e5040a114fad215f4f245c6a2ff7d96f61cba02ccd8b74b3e7", 3914),
)

#: By name, in the order of the papers.
DATASETS: Mapping[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            name="clark2022",
            what="dense and routed (mixture-of-experts) language models: the last logged losses",
            paper="Clark 2022, arXiv:2202.01169",
            licence="Apache-2.0",
            repository="google-deepmind/scaling_laws_for_routing",
            commit="42da0c392b127df2c01fa7b705f72396050d05e5",
            files=(
                File("data/curves.csv.gz", "c03e7531add85e594f368d33bac4a0220280be858a7ed12d147cf73af6a3819f", 336608),
            ),
            kind="runs",
            columns="N (parameters active for a token), E (experts), loss (validation); no D: all saw about as much",
            read=_clark,
        ),
        Dataset(
            name="besiroglu2024",
            what="final losses of Chinchilla's Figure 4, read off the figure",
            paper="Besiroglu 2024, arXiv:2404.10102; measured by Hoffmann 2022, arXiv:2203.15556",
            licence="none stated",
            repository="epoch-research/analyzing-chinchilla",
            commit="92258837425e1b5f2851d624287f0120583a3d0e",
            files=(
                File(
                    "data/svg_extracted_data.csv",
                    "193478df4e90f040016431996c45682659306840ecdadf83cfb9cd5ca0aa1b30",
                    23224,
                ),
            ),
            kind="runs",
            columns="N, C, loss; D is C / (6 N); outlier marks the five rows that the paper leaves out",
            read=_besiroglu,
        ),
        Dataset(
            name="li2025_misfitting",
            what="final losses of language models of 35M parameters and up, each at several learning rates",
            paper="Li 2025, arXiv:2502.18969",
            licence="none stated",
            repository="hadasah/scaling_laws",
            commit="1f3708c0a12df0effb0ee906b1da5f9f0ff4f4f1",
            files=(
                File(
                    "data/scaling_results.csv",
                    "193b4b7665365112605417e2ef06d55efe599cfa08412354e3ae42c3af7a9f58",
                    1133268,
                ),
            ),
            kind="runs",
            columns="N (with embeddings; N_no_emb without), D, C, loss; the checkpoints before the end are left out",
            read=_misfitting,
        ),
        Dataset(
            name="li2025_steplaw",
            what="final losses over grids of learning rate and batch size at many sizes and token counts",
            paper="Li 2025, arXiv:2503.04715",
            licence="none stated",
            repository="step-law/steplaw",
            commit="32a8f4cc50247695fb56cc6c9117abdf67c97763",
            files=(
                File(
                    "data/dense_lr_bs_loss.csv",
                    "9e46181076c04d450294d75dfe6f72adc416e231e154a07b337e378f9410002c",
                    344476,
                ),
            ),
            kind="runs",
            columns="N (without embeddings), D, lr, bs (batch, sequences), loss; runs that diverged are among them",
            read=_steplaw,
        ),
        Dataset(
            name="luo2025",
            what="loss curves of 25M and 100M parameters under constant, cosine, WSD and two-stage schedules",
            paper="Luo 2025, arXiv:2503.12811",
            licence="MIT",
            repository="thu-yao-01-luo/MultiPowerLaw",
            commit="8da9f1902602f3391b971a811e3cc51604541769",
            files=tuple(File(f"loss_curve_repo/{path}.csv", sha256, size) for path, sha256, size in _LUO),
            kind="curves",
            columns="run, step, lr, loss, N (nominal); fitted marks the schedules that the paper fits; the warm-up of "
            "2160 updates, which the logs leave out, is rebuilt",
            read=_luo,
        ),
    )
}
