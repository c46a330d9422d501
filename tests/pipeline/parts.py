"""Moderators put together in process from fakes, so that each test breaks exactly one thing."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from moderator.fusion.calibration import Calibration
from moderator.fusion.checkpoint import Checkpoint
from moderator.fusion.config import EmbedderSpec, FusionConfig
from moderator.fusion.model import build
from moderator.hookspecs import hookimpl
from moderator.host import PluginHost
from moderator.pipeline.moderator import Moderator
from moderator.plugin import Detector, Embedder
from moderator.policy.load import load_policy
from moderator.settings import Settings
from moderator.taxonomy import DEFAULT
from moderator.testing import FakeDetector, fake_embedder
from moderator.types import Content, Embedding, Modality, Signal

DIM = 8
POLICY = """
name: test
version: 1
otherwise: allow
on_degraded: review
rules:
  - {name: hate-block, when: hate >= 0.999, then: block}
"""
WITH_SIGNAL = POLICY + "  - {name: signal-block, when: fake_signal >= 0.2, then: block, why: Listed}\n"

Embed = Callable[[Embedder, Sequence[Content]], Any]
Detect = Callable[[Detector, Sequence[Content]], Any]


def embedder_class(
    name: str = "words", modality: Modality = Modality.TEXT, embed: Embed | None = None, **attributes: Any
) -> type[Embedder]:
    """A fake embedder; ``embed`` takes the place of its work and may call ``honest``."""
    base = fake_embedder(torch.from_numpy, name=name, modality=modality, dim=DIM)
    attributes["honest"] = base.embed_batch
    if embed is not None:
        attributes["embed_batch"] = embed
    return type(name, (base,), attributes)


def detector_class(detect: Detect | None = None, **attributes: Any) -> type[Detector]:
    attributes["honest"] = FakeDetector.detect_batch
    if detect is not None:
        attributes["detect_batch"] = detect
    return type("Faulty", (FakeDetector,), attributes)


def honest(plugin: Any, contents: Sequence[Content]) -> list[Any]:
    """What the fake gives when nothing is wrong with it."""
    return plugin.honest(contents)  # type: ignore[no-any-return]


def spec(
    name: str = "words", modality: Modality = Modality.TEXT, alone: bool = True, fingerprint: str = ""
) -> EmbedderSpec:
    return EmbedderSpec(name, modality, DIM, fingerprint or f"1:fake-{DIM}", alone)


def checkpoint(specs: Sequence[EmbedderSpec], bias: float = -1.0) -> Checkpoint:
    config = FusionConfig(tuple(specs), DEFAULT.names, DEFAULT.version, width=32, latents=4, layers=1)
    calibration = replace(Calibration.identity(DEFAULT.names), bias=(bias,) * len(DEFAULT))
    return Checkpoint(build(config, seed=2), calibration, "ab" * 32)


def moderator(
    embedders: Sequence[type[Embedder]] = (),
    detectors: Sequence[type[Detector]] = (),
    *,
    specs: Sequence[EmbedderSpec] = (),
    policy: str = POLICY,
    settings: Mapping[str, Any] | None = None,
    model: Checkpoint | None = None,
) -> Moderator:
    """Without ``embedders``, one honest embedder of texts; without ``specs``, those of the embedders."""
    embedders = embedders or [embedder_class()]
    specs = specs or [spec(each.name, each.modality) for each in embedders]
    plugin = types.SimpleNamespace(
        register_embedders=hookimpl(lambda: embedders), register_detectors=hookimpl(lambda: detectors)
    )
    given = Settings(**(settings or {}))
    host = PluginHost({"test": plugin}, given)
    assert not host.failures, host.failures
    signals = [each for detector in host.detectors.values() for each in detector.signals]
    rules = load_policy(policy.encode(), DEFAULT.names, signals, "test.yaml")
    return Moderator(host, model or checkpoint(specs), rules, given)


def embedding(tokens: torch.Tensor, spans: int | None = None) -> Embedding:
    """Tokens with as many spans, or with ``spans`` of them."""
    count = len(tokens) if spans is None else spans
    return Embedding(tokens, torch.zeros(count, 2).numpy())


def signal(name: str = "fake_signal", score: float = 0.5) -> Signal:
    return Signal(name, score)
