"""What accelerators can do at best, from their makers' data sheets: dense products of bfloat16 matrices."""

from __future__ import annotations

import torch

#: Peak dense bfloat16 FLOP/s by the name CUDA gives a device, without sparsity (data sheets that quote it with
#: sparsity quote twice as much).
PEAKS = {
    # NVIDIA A100 Tensor Core GPU data sheet: 312 TFLOPS bfloat16
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    # NVIDIA H100 Tensor Core GPU data sheet: 1,979 (SXM) and 1,513 (PCIe) TFLOPS bfloat16 with sparsity
    "NVIDIA H100 80GB HBM3": 989.5e12,
    "NVIDIA H100 PCIe": 756.5e12,
    # NVIDIA H200 Tensor Core GPU data sheet: 1,979 TFLOPS bfloat16 with sparsity (SXM)
    "NVIDIA H200": 989.5e12,
}


def peak_flops(device: torch.device, dtype: str) -> float | None:
    """Peak FLOP/s of `device` for runs in `dtype`; None where it is not known for sure."""
    if device.type != "cuda" or dtype != "bfloat16":
        return None
    return PEAKS.get(torch.cuda.get_device_name(device))
