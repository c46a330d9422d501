"""What an encoder's numbers are computed in: the fastest its weights and the processor allow, or as asked."""

from __future__ import annotations

from moderator.errors import PluginError

PRECISIONS = ("auto", "float32", "bfloat16", "int8")


def chosen(name: str, asked: str, device: str, *, packs: bool, int8: bool) -> str:
    """The precision ``asked`` for by the plugin called ``name``, or the fastest for ``auto``.

    ``packs``: whether ``packed`` knows the architecture. ``int8``: whether the weights are stored in 8 bits:
    others are not rounded here, since nothing would have said what is lost by it. ``PluginError`` where what
    was asked for cannot be.
    """
    if asked == "auto":
        if packs and int8 and has_int8(device):
            return "int8"
        return "bfloat16" if packs and has_bfloat16(device) else "float32"
    if asked == "int8" and not int8:
        raise PluginError(
            f"{name}: precision int8 is for weights in 8 bits, which 'moderator models export --int8' writes"
        )
    if asked != "float32" and not packs:
        raise PluginError(f"{name}: precision {asked} is for BERT-like models, which this is not")
    if asked == "int8" and not has_int8(device):
        raise PluginError(
            f"{name}: precision int8 takes a CPU with VNNI or AMX instructions; "
            "with auto the same weights are computed in floating point"
        )
    return asked


def has_bfloat16(device: str) -> bool:
    """Whether ``device`` is faster in bfloat16 than in float32."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def has_int8(device: str) -> bool:
    """Whether ``device`` multiplies 8-bit numbers fast and exactly: older x86 processors add them up in 16
    bits, which overflow."""
    import torch

    has = torch.cpu.get_capabilities()
    return device == "cpu" and any(has.get(each) for each in ("avx512_vnni", "avx_vnni", "amx_int8"))
