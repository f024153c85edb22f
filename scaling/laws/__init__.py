"""Every law by its name, written out by hand: one file a paper."""

from __future__ import annotations

from scaling.errors import ScalingError, nearest
from scaling.law import CUSTOM, Law
from scaling.laws.abnar2025 import abnar
from scaling.laws.alabdulmohsin2022 import m3, m4
from scaling.laws.bhagia2024 import bhagia_accuracy, bhagia_loss, llama3_loss
from scaling.laws.busbridge2025 import busbridge
from scaling.laws.caballero2022 import bnsl
from scaling.laws.chen2025 import qat
from scaling.laws.clark2022 import clark
from scaling.laws.cui2025 import cui
from scaling.laws.deepseek2024 import deepseek_batch, deepseek_data, deepseek_lr, deepseek_model
from scaling.laws.experimental import bjorck_lr, hernandez_transfer, llama3_tokens, zhang_batch
from scaling.laws.farseer2025 import farseer
from scaling.laws.frantar2023 import frantar_sparse
from scaling.laws.frantar2025 import frantar_compressed, quest
from scaling.laws.gadre2024 import gadre, gadre_error
from scaling.laws.ge2024 import bimix
from scaling.laws.ghorbani2021 import ghorbani
from scaling.laws.henighan2020 import henighan_infogain, henighan_model, power
from scaling.laws.hoffmann2022 import chinchilla
from scaling.laws.joined import skaling
from scaling.laws.kaplan2020 import kaplan, kaplan_batch, kaplan_power, kaplan_steps
from scaling.laws.krajewski2024 import krajewski
from scaling.laws.kumar2024 import kumar, kumar_rounded
from scaling.laws.li2025 import fsl
from scaling.laws.liu2024 import mde, regmix
from scaling.laws.ludziejewski2025 import ludziejewski
from scaling.laws.luo2025 import mpl, mpl_rises, mpl_tied
from scaling.laws.mccandlish2018 import mccandlish
from scaling.laws.muennighoff2023 import muennighoff
from scaling.laws.noise import ncl, ncl_sizes
from scaling.laws.panferov2025 import panferov
from scaling.laws.porian2024 import porian_model
from scaling.laws.ruan2024 import ruan
from scaling.laws.shukor2025 import shukor, shukor_joint
from scaling.laws.stepfun2025 import steplaw_batch, steplaw_lr
from scaling.laws.sun2025 import floating
from scaling.laws.tao2024 import tao
from scaling.laws.tissue2024 import area_power, tissue, tissue_sizes
from scaling.laws.wang2025 import cpt
from scaling.laws.wei2024 import wei
from scaling.laws.ye2024 import ye

#: A new law is one more name here, beside its family.
_EVERY = (
    *(chinchilla, kaplan, kaplan_power, kaplan_steps, power, henighan_model, henighan_infogain, skaling),
    *(gadre, farseer, bnsl, m3, m4, porian_model, deepseek_model, deepseek_data, llama3_tokens),
    *(steplaw_lr, steplaw_batch, deepseek_lr, deepseek_batch, bjorck_lr, kaplan_batch, mccandlish, zhang_batch),
    *(hernandez_transfer, tao, busbridge),
    *(bhagia_loss, llama3_loss, bhagia_accuracy, gadre_error, ruan),
    muennighoff,
    *(panferov, quest, frantar_compressed, frantar_sparse, kumar, kumar_rounded, qat, floating),
    ghorbani,
    *(ye, regmix, mde, bimix, shukor, shukor_joint),
    *(clark, ludziejewski, krajewski, abnar),
    *(wei, cui),
    *(ncl, ncl_sizes, tissue, tissue_sizes, mpl, mpl_rises, mpl_tied, fsl, area_power, cpt),
)

#: In the order in which they are listed.
FAMILIES = (
    "language models", "repeated data", "compressed formats", "encoder-decoder", "mixtures", "experts",
    "hyper-parameters", "transfer", "vocabulary", "distillation", "downstream", "representation",
    "learning-rate annealing", "theory", CUSTOM,
)  # fmt: skip
LAWS: dict[str, Law] = {law.name: law for law in _EVERY}


def find_law(law: str | Law) -> Law:
    """The law of that name; a Law passes through. Raises ScalingError with the nearest known name."""
    if isinstance(law, Law):
        return law
    if law not in LAWS:
        raise ScalingError(f"no law is called {law!r}; {nearest(law, LAWS)}")
    return LAWS[law]
