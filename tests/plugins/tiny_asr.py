"""Small speech recognisers on disk, as transformers saves its own, and a voice to try them on."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

from moderator.types import Content, Modality

_SPECIAL = (
    *("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>"),
    *("<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
)


def tiny_whisper(folder: Path, **generation: Any) -> Path:
    """A Whisper of one layer with random weights: the same letters for the same sound, no words."""
    torch.manual_seed(0)
    vocabulary = {letter: index for index, letter in enumerate(sorted(ByteLevel.alphabet()))}
    ids = {token: len(vocabulary) + index for index, token in enumerate(_SPECIAL)}
    vocabulary |= ids
    WhisperTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=16).save_pretrained(folder)
    heads: dict[str, Any] = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    size: dict[str, Any] = {
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        **heads,
    }
    end = ids["<|endoftext|>"]
    tokens: dict[str, Any] = {"pad_token_id": end, "bos_token_id": end, "eos_token_id": end}
    config = WhisperConfig(
        vocab_size=len(vocabulary),
        d_model=16,
        num_mel_bins=16,
        max_target_positions=32,
        decoder_start_token_id=ids["<|startoftranscript|>"],
        init_std=1.0,
        **size,
        **tokens,
    )
    WhisperForConditionalGeneration(config).save_pretrained(folder)
    settings = {
        "is_multilingual": True,
        "lang_to_id": {token: ids[token] for token in ("<|en|>", "<|de|>")},
        "task_to_id": {task: ids[f"<|{task}|>"] for task in ("transcribe", "translate")},
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "decoder_start_token_id": ids["<|startoftranscript|>"],
        "suppress_tokens": list(ids.values()),
        "max_length": 12,
        "_from_model_config": True,
        **tokens,
        **generation,
    }
    (folder / "generation_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def tiny_ctc(folder: Path) -> Path:
    """A wav2vec 2.0 of one layer with random weights, which knows capitals."""
    torch.manual_seed(1)
    folder.mkdir(exist_ok=True)
    pieces = ("<pad>", "<s>", "</s>", "<unk>", "|", *map(chr, range(65, 91)))
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    size: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "conv_dim": (16, 16),
        "conv_kernel": (10, 8),
        "conv_stride": (20, 16),
        "num_feat_extract_layers": 2,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 2,
    }
    config = Wav2Vec2Config(vocab_size=len(vocabulary), pad_token_id=0, initializer_range=1.0, **size)
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    return folder


def spoken(text: str, voice: str = "en-us") -> Content:
    """What espeak-ng says, 22,050 Hz."""
    command = ["espeak-ng", "-v", voice, "-s", "140", "--stdin", "--stdout"]
    done = subprocess.run(command, input=text.encode(), capture_output=True, check=True)
    # the length in the header of a pipe is made up
    samples = np.frombuffer(done.stdout[44 : len(done.stdout) // 2 * 2], dtype="<i2")
    return Content(Modality.AUDIO, samples.astype(np.float32) / np.float32(32768), rate=22_050)


def as_wav(content: Content) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, content.data, content.rate, format="WAV", subtype="PCM_16")
    return file.getvalue()
