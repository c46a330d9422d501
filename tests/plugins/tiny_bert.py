"""A small encoder on disk, as transformers saves its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel


def tiny_bert(folder: Path, words: Sequence[str] = (), **config: Any) -> Path:
    """A BERT of two layers with a vocabulary of letters and ``words``, saved as transformers saves models."""
    torch.manual_seed(3)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "hello", "world"]
    pieces += [prefix + chr(97 + n) for n in range(26) for prefix in ("", "##")]
    pieces += [word for word in words if word not in pieces]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(length=16)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    made = BertConfig(vocab_size=len(vocabulary), **{"max_position_embeddings": 32, **size, **config})
    BertModel(made).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
