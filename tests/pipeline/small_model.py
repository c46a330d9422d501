"""A small but whole model directory, made once per run with the functions that make real ones."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import moderator.models.default
from moderator.fusion.calibration import Calibration
from moderator.fusion.checkpoint import save_checkpoint
from moderator.fusion.config import EmbedderSpec, FusionConfig
from moderator.fusion.model import FusionModel, build
from moderator.host import PluginHost
from moderator.plugin import FittedEmbedder
from moderator.settings import Settings
from moderator.taxonomy import DEFAULT
from moderator.testing import make_text

EMBEDDERS = ("text-minilm", "text-lexical", "image-timm", "audio-logmel")
AGREE = 2e-3
"""How far scores of the same content may differ: text-minilm may be computed in bfloat16."""
SHIPPED = Path(moderator.models.default.__path__[0])

HARMFUL: Mapping[str, tuple[str, ...]] = {
    "toxicity": (
        "shut up you stupid idiot",
        "what a stupid idiot you are",
        "only an idiot writes such stupid nonsense",
        "闭嘴吧你这个白痴",
    ),
    "profanity": ("what the fuck is this", "this fucking thing is fucked", "oh fuck it all", "fuck off"),
    "harassment": (
        "you are a worthless loser and everybody laughs at you",
        "nobody likes you, worthless loser",
        "cry more, you pathetic loser",
        "你真是个没用的废物",
    ),
    "hate": (
        "those immigrants are vermin",
        "these people are vermin and should leave",
        "vermin like them do not belong here",
        "这些外地人都是垃圾",
    ),
    "violence": (
        "i will stab you with a knife",
        "i am going to kill you tonight",
        "we will kill and stab them all",
        "我要杀了你",
    ),
    "sexual": (
        "send me naked pictures",
        "she was naked and wanted sex",
        "hot sex with naked girls",
        "裸体视频",
    ),
    "self_harm": ("i want to end my life", "i want to cut myself again", "my life should end, i cut myself"),
    "illicit": ("buy cocaine here cheap", "cocaine and heroin for sale", "how to sell heroin unnoticed"),
    "spam": (
        "click here to win a free prize now",
        "free prize, click this link now",
        "you win a free iphone, click now",
        "点击链接免费领取大奖",
    ),
}
BENIGN = (
    "the library opens at nine in the morning",
    "we planted tomatoes in the garden",
    "thank you for your help yesterday",
    "the train to berlin leaves from platform two",
    "my sister bakes very good bread",
    "it rained the whole afternoon",
    "please send me the report by friday",
    "the children played football in the park",
    "a lovely concert, we enjoyed every minute",
    "the recipe needs two eggs and some flour",
    "our office moves to the third floor",
    "he reads a book about the history of rome",
    "can you tell me the way to the station",
    "the new bridge was finished in spring",
    "good morning, how was your weekend",
    "she teaches mathematics at a school",
    "the cat sleeps on the warm window sill",
    "lunch is at noon in the small kitchen",
    "今天天气很好，我们去公园散步",
    "谢谢你昨天的帮助",
    "图书馆早上九点开门",
    "我妹妹喜欢做面包",
    "这本书很有意思",
    "明天我们一起吃午饭吧",
)


def labelled() -> tuple[list[str], NDArray[np.float32]]:
    """Every sentence above and its labels ``(N, 9)``."""
    texts = [text for sentences in HARMFUL.values() for text in sentences] + list(BENIGN)
    targets = np.zeros((len(texts), len(DEFAULT)), dtype=np.float32)
    for column, label in enumerate(DEFAULT.names):
        targets[:, column] = [text in HARMFUL[label] for text in texts]
    return texts, targets


def embedders(weights: Mapping[str, Path]) -> PluginHost:
    """The shipped plugins with their weights."""
    options = {name: {"weights": str(path)} for name, path in weights.items()}
    return PluginHost.discover(
        Settings(allow_plugins=("text", "image", "audio", "lexicon", "rules"), plugins=options)
    )


@cache
def small_model() -> Path:
    """A model of all four embedders: the lexical one is fitted to the sentences above and read out
    directly, all else is random and small, so that everything counts and plain sentences pass."""
    folder = Path(tempfile.mkdtemp(prefix="model"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in ("image-timm", "audio-logmel"):
        shutil.copyfile(SHIPPED / f"{name}.safetensors", folder / f"{name}.safetensors")
    _fit_lexical(folder / "text-lexical.safetensors")
    host = embedders({name: folder / f"{name}.safetensors" for name in EMBEDDERS[1:]})
    specs = []
    for name in EMBEDDERS:
        embedder = host.embedders[name]
        embedder.load("cpu")
        alone = name.startswith("text")
        specs.append(EmbedderSpec(name, embedder.modality, embedder.dim, embedder.fingerprint, alone))
    config = FusionConfig(tuple(specs), DEFAULT.names, DEFAULT.version, width=32, latents=4, layers=1)
    calibration = replace(Calibration.identity(DEFAULT.names), bias=(-2.0,) * len(DEFAULT))
    save_checkpoint(folder / "fusion.safetensors", read_out(build(config, seed=4)), calibration)
    return folder


def _fit_lexical(path: Path) -> None:
    made = PluginHost.discover(
        Settings(allow_plugins=("text",), plugins={"text-lexical": {"min_count": 1, "size": 4096}})
    ).embedders["text-lexical"]
    assert isinstance(made, FittedEmbedder)
    texts, targets = labelled()
    weights = np.ones(len(texts), dtype=np.float32)
    made.fit([make_text(text) for text in texts], targets, weights, lambda line: None)
    made.save(path)


def read_out(model: FusionModel) -> FusionModel:
    with torch.no_grad():
        model.output.mul_(0.2)
        for name, shortcut in model.shortcuts.items():
            linear = shortcut[1]  # type: ignore[index]
            assert isinstance(linear, nn.Linear)
            linear.weight.mul_(0.02)
            if name == "text-lexical":
                linear.weight.add_(2.5 * torch.eye(len(DEFAULT)))
    return model
