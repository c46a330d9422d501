"""How PyTorch is set where it computes on a GPU."""

from __future__ import annotations


def prepare() -> None:
    """Call once before computing there."""
    import torch

    # convolutions and products in TF32 would differ between batch sizes by more than is promised
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    # cuDNN's attention makes a plan for each new shape, which takes longer than computing it: texts differ in
    # length, so that nearly every batch has a new one
    torch.backends.cuda.enable_cudnn_sdp(False)
