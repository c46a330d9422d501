"""The model that ships: it loads, is described, is small, and ranks what is harmful above what is not."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import version

import numpy as np
import pytest
from click.testing import CliRunner

from moderator.cli.models import models
from moderator.pipeline.models import model_directory
from moderator.pipeline.moderator import Moderator
from moderator.settings import Settings
from moderator.taxonomy import DEFAULT
from moderator.train.config import read_config
from moderator.types import Action

FOLDER = model_directory("default")
SHIPPED_LIMIT = 30_000_000

HARMFUL: Mapping[str, tuple[str, ...]] = {
    "toxicity": (
        "Shut up, you stupid idiot, nobody wants to hear your garbage.",
        "You people are complete morons and everything you write is trash.",
        "闭嘴吧，你这个白痴，真让人恶心。",
    ),
    "profanity": (
        "What the fuck is this bullshit, go fuck yourself.",
        "This fucking shit never works, god damn motherfuckers.",
        "Holy shit, you fucking asshole.",
    ),
    "harassment": (
        "You are a worthless loser and everybody hates you.",
        "Nobody likes you, you ugly pathetic freak, just disappear.",
        "You are the dumbest person alive and you disgust me, loser.",
    ),
    "hate": (
        "All immigrants are filthy vermin and should be thrown out of the country.",
        "Muslims are subhuman animals, none of them belong here.",
        "女人都是低等动物，根本不配工作。",
    ),
    "violence": (
        "I am going to kill you and your family tonight.",
        "I will stab him with a knife until he is dead.",
        "We should hang and shoot every one of them.",
    ),
    "sexual": (
        "Send me naked pictures, I want to fuck you hard tonight.",
        "Horny girls suck cock and take it up the ass.",
        "Hot nude sluts want sex with you right now.",
    ),
    "self_harm": (
        "I want to kill myself, I cannot go on living.",
        "I am going to end my life tonight, suicide is the only way out.",
        "I keep cutting myself and I hope I die.",
    ),
    "illicit": (
        "Buy cocaine and heroin here, cheap and delivered without questions.",
        "How do I build a bomb at home without anybody noticing?",
        "Selling stolen credit card numbers and fake passports.",
    ),
    "spam": (
        "CONGRATULATIONS! You have won a FREE prize, click http://win.example now to claim your cash!",
        "Call now to claim your guaranteed 1000 pound prize, text WIN to 80085.",
        "Earn $5000 a week from home, limited offer, click the link now!!!",
    ),
}
BENIGN = (
    "The library opens at nine in the morning and closes at six.",
    "Thank you very much for your help with the garden yesterday.",
    "My sister bakes bread every Sunday and we eat it together.",
    "Could you please send me the report before Friday?",
    "The train to Berlin leaves from platform two.",
    "We watched a documentary about the history of bridges.",
    "A lovely concert; we enjoyed every minute of it.",
    "The recipe needs two eggs, some flour and a little milk.",
    "今天天气很好，我们去公园散步了。",
    "谢谢你昨天的帮助，图书馆早上九点开门。",
    "我妹妹每个星期天都做面包，大家一起吃。",
    "请在星期五之前把报告发给我，好吗？",
)


@pytest.fixture(scope="module")
def moderator() -> Iterator[Moderator]:
    with Moderator.load(device="cpu", settings=Settings()) as made:
        yield made


def test_it_comes_with_its_card_and_the_configuration_it_was_trained_with() -> None:
    files = {file.name for file in FOLDER.iterdir()}
    assert {"fusion.safetensors", "text-lexical.safetensors", "train.toml"} <= files
    (card,) = (FOLDER / name for name in sorted(files) if name.lower().endswith(".md"))
    text = card.read_text(encoding="utf-8")
    for label in DEFAULT.names:
        assert label in text, label
    config = read_config(FOLDER / "train.toml")
    for source in ("hatexplain_partial", "gab_hate_ghc", "swsr"):
        assert source in config.text.leave_out
    assert tomllib.loads((FOLDER / "train.toml").read_text())["fusion"]["not_alone"]


def test_its_weights_are_small() -> None:
    assert sum(file.stat().st_size for file in FOLDER.glob("*.safetensors")) < SHIPPED_LIMIT


def test_it_loads_with_everything_it_was_trained_with(moderator: Moderator) -> None:
    assert moderator.failures == []
    assert moderator.unused == ()
    assert [spec.name for spec in moderator.checkpoint.config.embedders] == [
        *("text-minilm", "text-lexical", "image-timm", "audio-logmel")
    ]
    verdict = moderator.check(text="hello", image=b"", audio=(np.zeros(8000, np.float32), 8000))
    for spec in moderator.checkpoint.config.embedders:
        assert verdict.embedders[spec.name].removesuffix(":bfloat16") == spec.fingerprint
    assert verdict.software == f"moderator {version('moderator')}"


def test_every_label_ranks_harm_above_the_rest(moderator: Moderator) -> None:
    """On average over a few plain sentences: how good it is stands in its card, not here."""
    benign = [moderator.check(text=text).scores for text in BENIGN]
    for label, texts in HARMFUL.items():
        harmful = [moderator.check(text=text).scores for text in texts]
        high = float(np.mean([scores[label] for scores in harmful]))
        low = float(np.mean([scores[label] for scores in benign]))
        assert high > low, (label, high, low)


def test_scores_are_probabilities_of_every_label(moderator: Moderator) -> None:
    for text in (*BENIGN, *(text for texts in HARMFUL.values() for text in texts)):
        verdict = moderator.check(text=text)
        assert tuple(verdict.scores) == DEFAULT.names
        assert all(0 < score < 1 for score in verdict.scores.values())
        assert verdict.degraded == ()


def test_plain_sentences_pass_the_default_policy_and_plain_harm_does_not(moderator: Moderator) -> None:
    assert moderator.policy.name == "default"
    passed = [text for text in BENIGN if moderator.check(text=text).action is Action.ALLOW]
    assert len(passed) >= 3 * len(BENIGN) / 4, passed
    assert moderator.check(text=BENIGN[0]).action is Action.ALLOW
    harmful = [text for texts in HARMFUL.values() for text in texts]
    caught = [text for text in harmful if moderator.check(text=text).action is not Action.ALLOW]
    assert len(caught) >= len(harmful) / 2


def test_it_is_listed_with_its_digest(moderator: Moderator) -> None:
    result = CliRunner().invoke(models, ["list", "--json"])
    assert result.exit_code == 0
    rows = json.loads(result.stdout)
    assert moderator.checkpoint.digest in json.dumps(rows)
    assert len({row["id"] for row in rows}) == len(rows)
    assert all(row["origin"] == "package" for row in rows if row["path"].startswith(str(FOLDER)))
