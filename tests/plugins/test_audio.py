from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model
from transformers.utils import logging

from moderator.errors import PluginError, WeightsError
from moderator.types import Content, Modality
from moderator_audio.embedder import LogMelAudio
from moderator_audio.features import augmented, log_mel, resampled


def sound(seconds: float, rate: int = 16_000, seed: int = 0) -> Content:
    samples = np.random.default_rng(seed).normal(0, 0.1, int(seconds * rate)).astype(np.float32)
    return Content(Modality.AUDIO, samples, rate=rate)


def tone(seconds: float, rate: int, hertz: float = 440.0) -> Content:
    time = np.arange(int(seconds * rate)) / rate
    return Content(Modality.AUDIO, (0.3 * np.sin(2 * np.pi * hertz * time)).astype(np.float32), rate=rate)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    trained = LogMelAudio()
    trained.initialise("cpu", seed=0)
    path = tmp_path_factory.mktemp("weights") / "audio-logmel.safetensors"
    trained.save(path)
    return path


@pytest.fixture(scope="module")
def embedder(weights: Path) -> LogMelAudio:
    loaded = LogMelAudio({"weights": str(weights)})
    loaded.load("cpu")
    return loaded


def test_one_summary_and_a_token_each_third_of_a_second(embedder: LogMelAudio) -> None:
    [embedding] = embedder.embed_batch([sound(1.0)])
    assert embedding.tokens.shape == (5, embedder.dim) == (5, 128)
    expected: list[list[float]] = [[0, 1], [0, 0.32], [0.32, 0.64], [0.64, 0.96], [0.96, 1.0]]
    assert np.allclose(embedding.spans, expected, atol=1e-6)
    assert embedding.spans.dtype == np.float32
    assert not embedding.truncated


def test_the_batch_does_not_change_an_embedding(embedder: LogMelAudio) -> None:
    clips = [
        sound(0.05 + 0.37 * index, rate=(8_000, 16_000, 44_100)[index % 3], seed=index) for index in range(19)
    ]
    together = embedder.embed_batch(clips)
    for clip, embedding in zip(clips, together, strict=True):
        [alone] = embedder.embed_batch([clip])
        assert torch.allclose(alone.tokens, embedding.tokens, atol=1e-5, rtol=0)
        assert np.array_equal(alone.spans, embedding.spans)
        assert embedding.spans[0, 1] == pytest.approx(len(clip.data) / clip.rate)
        assert (embedding.spans[1:, 1] >= embedding.spans[1:, 0]).all()
    assert embedder.embed_batch([]) == []


def test_padding_is_exact_while_training(embedder: LogMelAudio) -> None:
    batch = embedder.inputs([sound(0.3), sound(2.0, seed=1)])
    assert batch.mel.shape == (2, 201, 64)
    assert batch.lengths.tolist() == [31, 201]
    tokens, mask = embedder.forward(batch)
    assert mask.sum(dim=1).tolist() == [2, 8]
    assert (tokens[~mask] == 0).all()


@pytest.mark.parametrize("samples", [0, 1, 2, 159, 399, 400, 401])
def test_very_short_clips(samples: int, embedder: LogMelAudio) -> None:
    clip = Content(Modality.AUDIO, np.full(samples, 0.5, dtype=np.float32), rate=16_000)
    [embedding] = embedder.embed_batch([clip])
    assert len(embedding.tokens) == len(embedding.spans) == 2
    assert torch.isfinite(embedding.tokens).all()
    assert torch.isfinite(augmented(log_mel(torch.full((samples + 1,), 0.5)), np.random.default_rng(0))).all()


def test_silence_gives_zeros_and_loudness_does_not_matter() -> None:
    assert log_mel(torch.zeros(16_000)).abs().max() < 1e-5
    noise = torch.from_numpy(np.asarray(sound(1.0).data))
    assert torch.allclose(log_mel(noise), log_mel(noise * 0.05), atol=1e-3)
    whisper = log_mel(noise * 1e-9)  # below what is called silence: not made any louder
    assert whisper.abs().max() < 0.01


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 44_101, 48_000, 192_000])
def test_any_rate_gives_the_same_picture_of_a_tone(rate: int) -> None:
    given = torch.from_numpy(np.asarray(tone(1.0, rate).data))
    wanted = log_mel(torch.from_numpy(np.asarray(tone(1.0, 16_000).data)))
    made = log_mel(resampled(given, rate))
    assert abs(len(made) - len(wanted)) <= 1
    assert int(made[50].argmax()) == int(wanted[50].argmax())


def test_examples_are_embedded(embedder: LogMelAudio) -> None:
    embeddings = embedder.embed_batch(LogMelAudio.examples())
    assert all(torch.isfinite(embedding.tokens).all() for embedding in embeddings)
    assert not torch.allclose(embeddings[0].tokens[0], embeddings[1].tokens[0])


def test_weights_are_half_precision_and_say_what_they_are(weights: Path, embedder: LogMelAudio) -> None:
    assert weights.stat().st_size < 1_500_000
    assert {value.dtype for value in load_file(weights).values() if value.ndim > 1} == {torch.float16}
    with safe_open(weights, framework="pt") as file:
        assert json.loads(file.metadata()["embedder"])["name"] == "audio-logmel"
    [found] = embedder.weights()
    assert (found.path, found.origin) == (weights, "path")
    assert embedder.fingerprint == f"1:{found.sha256[:16]}"


def test_the_shipped_weights_are_found_and_load() -> None:
    embedder = LogMelAudio()
    [found] = embedder.weights()
    embedder.load("cpu")
    assert found.origin == "package"
    assert found.path.stat().st_size < 1_500_000
    assert embedder.fingerprint == f"1:{found.sha256[:16]}"
    first, second = embedder.embed_batch(LogMelAudio.examples()[:2])
    assert not torch.allclose(first.tokens[0], second.tokens[0])


def test_saving_and_loading_keeps_the_tokens(weights: Path, tmp_path: Path) -> None:
    first, second = LogMelAudio({"weights": weights}), LogMelAudio({"weights": str(tmp_path)})
    first.load("cpu")
    first.save(tmp_path / "audio-logmel.safetensors")
    second.load("cpu")
    assert first.fingerprint == second.fingerprint
    [one], [two] = (each.embed_batch([sound(0.5)]) for each in (first, second))
    assert torch.equal(one.tokens, two.tokens)


def test_the_same_seed_gives_the_same_weights_and_gradients_reach_them() -> None:
    one, two = LogMelAudio(), LogMelAudio()
    first, second = one.initialise("cpu", 3).state_dict(), two.initialise("cpu", 3).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    clips = [sound(0.4), sound(0.9)]
    batch = one.inputs(clips, np.random.default_rng(0))
    again = two.inputs(clips, np.random.default_rng(0))
    assert torch.equal(batch.mel, again.mel)
    tokens, _ = one.forward(batch)
    tokens.square().mean().backward()
    module = one._network
    assert [name for name, value in module.named_parameters() if value.grad is None] == []


# A speech encoder of transformers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(16, 16, 16, 16, 16, 16, 16),
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )
    path = tmp_path_factory.mktemp("wav2vec2")
    logging.disable_progress_bar()
    Wav2Vec2Model(config).save_pretrained(path)
    logging.enable_progress_bar()
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(path)
    return path


@pytest.mark.parametrize("option", ["model", "weights"])
def test_a_folder_as_transformers_saves_it(option: str, folder: Path) -> None:
    embedder = LogMelAudio({option: str(folder)})
    embedder.load("cpu")
    clips = [sound(1.0), sound(0.01), sound(0.7, 44_100)]
    embeddings = embedder.embed_batch(clips)
    assert embedder.dim == 24
    assert [embedding.tokens.shape for embedding in embeddings] == [(5, 24), (2, 24), (4, 24)]
    assert embeddings[0].spans.tolist()[0] == [0, 1]
    assert embedder.weights()[0].path == folder / "model.safetensors"
    [alone] = embedder.embed_batch([clips[2]])
    assert torch.allclose(alone.tokens, embeddings[2].tokens, atol=1e-5, rtol=0)

    model = Wav2Vec2Model.from_pretrained(folder).eval()
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder)
    values = extractor(np.asarray(clips[0].data), sampling_rate=16_000, return_tensors="pt").input_values
    with torch.inference_mode():
        states = model(values).last_hidden_state[0]
    assert torch.allclose(embeddings[0].tokens[0], states.mean(dim=0), atol=1e-4)
    assert torch.allclose(embeddings[0].tokens[1], states[:16].mean(dim=0), atol=1e-4)


def test_what_is_read_beside_the_weights_is_in_the_fingerprint(folder: Path, tmp_path: Path) -> None:
    copied(folder, tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"do_normalize": false}')
    one, two = LogMelAudio({"model": str(folder)}), LogMelAudio({"model": str(tmp_path)})
    one.load("cpu")
    two.load("cpu")
    assert one.fingerprint != two.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "bert"}, "is a 'bert' model"),
        ({"auto_map": {"AutoModel": "evil.Model"}}, "asks to run its own code"),
    ],
)
def test_folders_of_other_kinds_are_refused(
    folder: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    copied(folder, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises((PluginError, WeightsError), match=message):
        LogMelAudio({"model": str(tmp_path)}).load("cpu")


def test_an_encoder_with_missing_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    copied(folder, tmp_path)
    tensors = load_file(folder / "model.safetensors")
    del tensors["feature_projection.projection.weight"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=r"lacks 1 weights, 'feature_projection\.projection\.weight'"):
        LogMelAudio({"model": str(tmp_path)}).load("cpu")


def copied(folder: Path, to: Path) -> None:
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())


def test_missing_and_foreign_weights_are_refused(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(WeightsError, match="no weights at"):
        LogMelAudio({"weights": str(tmp_path / "gone.safetensors")}).load("cpu")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="not written by training audio-logmel"):
        LogMelAudio({"weights": str(tmp_path / "other.safetensors")}).load("cpu")
    (tmp_path / "broken.safetensors").write_bytes(b"not tensors at all")
    with pytest.raises(WeightsError, match="not a safetensors file"):
        LogMelAudio({"weights": str(tmp_path / "broken.safetensors")}).load("cpu")
    with safe_open(weights, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(weights)
    tensors["of_stretch.0.weight"] = tensors["of_stretch.0.weight"][:64].clone()
    save_file(tensors, tmp_path / "cut.safetensors", metadata)
    with pytest.raises(WeightsError, match=r"another shape, 'of_stretch\.0\.weight'"):
        LogMelAudio({"weights": tmp_path / "cut.safetensors"}).load("cpu")


def test_bad_options_and_contents_are_refused(embedder: LogMelAudio, folder: Path) -> None:
    with pytest.raises(PluginError, match="unknown option tempo"):
        LogMelAudio({"tempo": "fast"})
    with pytest.raises(PluginError, match="not both"):
        LogMelAudio({"model": "a", "weights": "b"})
    with pytest.raises(PluginError, match="only its own network"):
        LogMelAudio({"model": str(folder)}).initialise("cpu", 0)
    stereo = np.zeros((10, 2), dtype=np.float32)
    for content in (
        Content(Modality.AUDIO, "a", rate=16_000),
        Content(Modality.AUDIO, stereo, rate=16_000),
        Content(Modality.AUDIO, stereo[:, 0], rate=0),
    ):
        with pytest.raises(PluginError, match=r"takes float32 audio \(samples,\)"):
            embedder.embed_batch([content])
    with pytest.raises(PluginError, match=r"load\(\) or initialise\(\)"):
        LogMelAudio().embed_batch([sound(0.1)])


def test_registering_does_not_import_torch() -> None:
    code = (
        "import moderator_audio, sys; moderator_audio.register_embedders(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
