"""The text encoder in 8 bits: one file that is the whole encoder, near the one it was made from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from moderator.errors import PluginError, WeightsError
from moderator.testing import check_plugin, make_text
from moderator_text.encoder import TransformerText
from moderator_text.precision import has_int8
from tests.plugins.tiny_bert import tiny_bert

TEXTS = ("hello world abc", "x", "你好", "a b c d e f g h i j k l m n o p q r s t u v w x y z" * 4)
vnni = pytest.mark.xfail(not has_int8("cpu"), reason="takes VNNI", raises=PluginError, strict=True)


def stored(folder: Path, activation: str = "gelu", **options: Any) -> tuple[TransformerText, Path]:
    model = str(tiny_bert(folder, hidden_act=activation))
    made = TransformerText({"model": model, "chunk": 30, "precision": "float32", **options})
    made.load("cpu")
    path = folder / "stored.safetensors"
    made.save_int8(path)
    return made, path


def again(path: Path, **options: Any) -> TransformerText:
    made = TransformerText({"weights": str(path), **options})
    made.load("cpu")
    return made


@pytest.mark.parametrize("precision", ["float32", "bfloat16", pytest.param("int8", marks=vnni), "auto"])
def test_states_are_near_those_of_the_encoder_it_was_made_from(tmp_path: Path, precision: str) -> None:
    first, path = stored(tmp_path)
    for file in ("model.safetensors", "config.json", "tokenizer.json"):
        (tmp_path / file).unlink()
    second = again(path, precision=precision)
    fastest = "bfloat16" if torch.cpu.get_capabilities().get("avx512_bf16") else "float32"
    expected = {"auto": "int8" if has_int8("cpu") else f"int8+{fastest}", "int8": "int8"}
    assert second.precision == expected.get(precision, f"int8+{precision}")
    assert second.fingerprint != first.fingerprint
    assert second.fingerprint == again(path).fingerprint
    contents = [make_text(text) for text in TEXTS]
    for one, other in zip(first.embed_batch(contents), second.embed_batch(contents), strict=True):
        assert np.array_equal(one.spans, other.spans)
        torch.testing.assert_close(one.tokens, other.tokens, atol=0.08, rtol=0.05)
        assert not torch.equal(one.tokens, other.tokens)
    broken = [f"{each.check}: {each.detail}" for each in check_plugin(second) if not each.ok]
    assert broken == []


def test_another_architecture_is_stored_too(tmp_path: Path) -> None:
    """It runs padded, in floating point."""
    first, path = stored(tmp_path, "relu")
    second = again(path)
    assert second.precision == "int8+float32"
    (one,), (other,) = (each.embed_batch([make_text("hello")]) for each in (first, second))
    torch.testing.assert_close(one.tokens, other.tokens, atol=0.08, rtol=0.05)
    with pytest.raises(PluginError, match="precision int8 is for BERT-like models"):
        again(path, precision="int8")


def test_options_it_was_exported_with_stay(tmp_path: Path) -> None:
    first, path = stored(tmp_path, chunk=20, gloss=True)
    second = again(path)
    assert second.fingerprint.split(":")[2:] == first.fingerprint.split(":")[2:]
    assert again(path, chunk=12).fingerprint != second.fingerprint
    with pytest.raises(PluginError, match="chunk 200 exceeds the 30 positions"):
        again(path, chunk=200)


def test_the_same_encoder_gives_the_same_file(tmp_path: Path) -> None:
    first, path = stored(tmp_path)
    first.save_int8(tmp_path / "twice.safetensors")
    assert (tmp_path / "twice.safetensors").read_bytes() == path.read_bytes()


def test_weights_in_8_bits_are_neither_tuned_nor_rounded_again(tmp_path: Path) -> None:
    _, path = stored(tmp_path)
    with pytest.raises(
        PluginError, match="weights in 8 bits cannot be tuned; tune those they were made from"
    ):
        TransformerText({"weights": str(path)}).initialise("cpu", seed=0)
    with pytest.raises(WeightsError, match=r"stored\.safetensors is in 8 bits already"):
        again(path).save_int8(tmp_path / "twice.safetensors")


def test_other_weights_are_not_rounded_unmeasured(tmp_path: Path) -> None:
    made = TransformerText({"model": str(tiny_bert(tmp_path)), "chunk": 30, "precision": "int8"})
    with pytest.raises(PluginError, match="which 'moderator models export --int8' writes"):
        made.load("cpu")


def test_processors_without_exact_products_compute_in_floating_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = stored(tmp_path)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert again(path).precision == "int8+float32"
    with pytest.raises(PluginError, match="precision int8 takes a CPU with VNNI or AMX instructions"):
        again(path, precision="int8")


WORDS = "embeddings.word_embeddings.weight"


def _without(name: str) -> Callable[[dict[str, torch.Tensor], dict[str, Any]], object]:
    return lambda tensors, about: tensors.pop(name)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without(WORDS), "does not hold the encoder it describes: .*word_embeddings"),
        (_without(f"{WORDS}.scale"), f"{WORDS} has no scale for each of its rows"),
        (lambda t, a: t[f"{WORDS}.scale"].fill_(torch.nan), f"{WORDS} has no scale for each of its rows"),
        (lambda t, a: a["config"].update(hidden_size=32), "does not hold the encoder it describes"),
        (lambda t, a: a["config"].update(model_type="no-such"), "does not hold the encoder it describes"),
        (lambda t, a: a["config"].update(auto_map={"AutoModel": "x.Y"}), "asks to run its own code"),
        (
            lambda t, a: a.update(format="moderator-text-int8-9"),
            "in another format than moderator-text-int8-1",
        ),
        (lambda t, a: a.update(tokenizer="{}"), "no tokenizer can be read from it"),
        (lambda t, a: a.pop("config"), "does not describe its encoder: KeyError"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], object], said: str
) -> None:
    _, path = stored(tmp_path)
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["encoder"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(tensors, about)
    save_file(tensors, tmp_path / "changed.safetensors", metadata={"encoder": json.dumps(about)})
    with pytest.raises(WeightsError, match=said):
        again(tmp_path / "changed.safetensors")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    _, path = stored(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"not a readable safetensors file: .*; export the model again"):
        again(path)
