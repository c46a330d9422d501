"""The same results on a GPU as on the CPU, and training there.

python -m pytest tests/gpu
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from moderator.conformance import check_plugin
from moderator.host import PluginHost
from moderator.pipeline.models import resolve_device
from moderator.pipeline.moderator import Moderator
from moderator.plugin import Embedder
from moderator.settings import Settings
from moderator.taxonomy import DEFAULT
from moderator.testing import make_text
from moderator.train.fusion import FusionTrainer
from moderator.train.tune import Tuning, tune
from moderator.types import Item
from moderator_text.encoder import TransformerText
from tests.pipeline.small_model import BENIGN, HARMFUL
from tests.plugins.tiny_bert import tiny_bert
from tests.train.test_fusion_training import CONFIG, TRAINING, material
from tests.train.test_tune import contents_of, sample

TEXTS = [
    "You are a wonderful person.",
    "I will find you and kill you, you worthless piece of dirt",
    "滚出去，这里不欢迎你。",
    "a",
    "free money!!! click here now " * 40,
    "The weather is nice today, isn't it? " * 5,
]


def test_embedders_keep_the_contract() -> None:
    device = resolve_device("cuda")
    host = PluginHost.discover(Settings())
    for embedder in host.embedders.values():
        failed = [each for each in check_plugin(embedder, device) if not each.ok]
        assert not failed, (embedder.name, failed)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-3), ("bfloat16", 0.08)])
def test_text_states_are_those_of_the_cpu(precision: str, tolerance: float) -> None:
    states = []
    for device in ("cpu", "cuda"):
        embedder = TransformerText({"precision": "float32" if device == "cpu" else precision})
        embedder.load(device)
        made: Embedder = embedder
        states.append([each.tokens.float().cpu() for each in made.embed_batch([make_text(t) for t in TEXTS])])
    for one, other in zip(*states, strict=True):
        assert (one - other).abs().max() < tolerance


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("auto", 1e-2)])
def test_scores_are_those_of_the_cpu(precision: str, tolerance: float) -> None:
    scores = []
    for device in ("cpu", "cuda"):
        options = {"text-minilm": {"precision": "float32" if device == "cpu" else precision}}
        with Moderator.load(settings=Settings(plugins=options), device=device) as moderator:
            together = [v.scores for _, v in moderator.scan(moderator_items())]
            alone = [moderator.check(text=text).scores for text in TEXTS]
        a = np.array([[each[name] for name in DEFAULT.names] for each in together])
        b = np.array([[each[name] for name in DEFAULT.names] for each in alone])
        # whatever the batch: 1e-5, or 2e-3 in half precision
        assert np.abs(a - b).max() < (1e-5 if precision == "float32" else 2e-3)
        scores.append(a)
    assert np.abs(scores[0] - scores[1]).max() < tolerance


def moderator_items() -> list[Item]:
    return [Item.of(id=str(at), text=text) for at, text in enumerate(TEXTS)]


def test_the_fusion_model_learns_there_and_resumes(tmp_path: Path) -> None:
    given, held_out = material()
    trainer = FusionTrainer(CONFIG, TRAINING, given, held_out, tmp_path / "state", device="cuda")

    def stop(line: str) -> None:
        if line.startswith("round 2/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.run(stop)
    resumed = FusionTrainer(CONFIG, TRAINING, given, held_out, tmp_path / "state", device="cuda")
    lines: list[str] = []
    resumed.run(lines.append)
    assert [line.split("  ")[0] for line in lines] == ["round 3/4", "round 4/4"]
    assert min(resumed.validate().values()) > 0.8
    resumed.finish(tmp_path / "fusion.safetensors")
    assert torch.cuda.max_memory_allocated() > 0


def test_adapters_learn_there(tmp_path: Path) -> None:
    words = {word for texts in (BENIGN, *HARMFUL.values()) for text in texts for word in text.split()}
    folder = tiny_bert(
        tmp_path, sorted(words), hidden_size=32, intermediate_size=64, max_position_embeddings=300
    )
    said: list[str] = []
    embedder = TransformerText({"model": str(folder), "layers": 1, "rank": 4})
    tuning = Tuning(rows=512, rounds=2, lr=5e-3, batch=2000, average=0.9)
    path = tune(embedder, sample(), DEFAULT.names, tmp_path, tuning, contents_of, said.append, "cuda")
    assert path.is_file()
    assert float(said[-1].split()[-1]) > 0.9  # AUROC
