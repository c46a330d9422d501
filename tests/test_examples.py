"""What lies in ``examples/`` can be judged, and what the documentation shows of files is accepted."""

from __future__ import annotations

import io
import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moderator import Moderator
from moderator.errors import PolicyError
from moderator.media.sniff import claimed
from moderator.policy import load_cases, load_policy, run_cases
from moderator.scan.runner import Summary, run_scan
from moderator.settings import load_settings
from moderator.sources import VerdictWriter, open_sources
from moderator.store import Store
from moderator.taxonomy import DEFAULT
from moderator.train.config import read_config
from moderator.train.examples import read_text
from moderator_lexicon.detector import LexiconDetector

ROOT = Path(__file__).parents[1]
INBOX = ROOT / "examples" / "inbox"
POSTS = ROOT / "examples" / "posts.jsonl"
SIGNALS = LexiconDetector().signals
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


YAML = [(page.name, block) for page in PAGES for block in blocks(page, "yaml")]
POLICIES = [
    pytest.param(block, id=f"{name}-{block.split()[1]}") for name, block in YAML if block.startswith("name:")
]


@pytest.fixture(scope="module")
def moderator() -> Iterator[Moderator]:
    with Moderator.load() as loaded:
        yield loaded


def scan(moderator: Moderator, path: Path, folder: Path) -> tuple[list[dict[str, Any]], Summary]:
    sources, output = open_sources([path]), folder / "verdicts.jsonl"
    with Store.open(f"sqlite:///{folder / 'store.db'}") as store, VerdictWriter(output) as writer:
        summary = run_scan(moderator, sources, store, writer=writer)
    return [json.loads(line) for line in output.read_text(encoding="ascii").splitlines()], summary


@pytest.fixture(scope="module")
def inbox(
    moderator: Moderator, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, dict[str, Any]], Summary]:
    lines, summary = scan(moderator, INBOX, tmp_path_factory.mktemp("inbox"))
    assert len({line["id"] for line in lines}) == len(lines)
    return {line["id"]: line for line in lines}, summary


def test_the_inbox_is_small_and_has_every_kind() -> None:
    files = [path for path in INBOX.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 400_000
    suffixes = {path.suffix for path in files}
    assert suffixes == {".txt", ".md", ".png", ".jpg", ".gif", ".webp", ".wav", ".flac", ".mp3", ".zip"}
    assert len(files) <= 21, "the command line shows 20 verdicts"


def test_a_line_for_each_supported_file_and_the_rest_is_said(
    inbox: tuple[dict[str, dict[str, Any]], Summary],
) -> None:
    lines, summary = inbox
    files = [path for path in INBOX.rglob("*") if path.is_file()]
    supported = {path.relative_to(INBOX).as_posix() for path in files if claimed(path.name)}
    assert set(lines) == supported
    assert summary.items == len(supported)
    assert summary.skipped == {"ZIP (.zip)": 1}


def test_what_cannot_be_read_goes_to_review_with_the_reason(
    inbox: tuple[dict[str, dict[str, Any]], Summary],
) -> None:
    lines, _ = inbox
    assert lines["empty.txt"]["degraded"] == ["text[0]: empty: no bytes"]
    assert lines["pictures/broken.png"]["degraded"][0].startswith("image[0]: cannot be decoded: ")
    for name in ("empty.txt", "pictures/broken.png"):
        assert (lines[name]["action"], lines[name]["scores"]) == ("review", {})


@pytest.mark.parametrize("name", ["posts/recipe.md", "posts/news.txt", "posts/weekend-zh.txt"])
def test_everyday_texts_are_allowed(name: str, inbox: tuple[dict[str, dict[str, Any]], Summary]) -> None:
    line = inbox[0][name]
    assert line["action"] == "allow", line["matches"]


@pytest.mark.parametrize("name", ["insult.txt", "insult-zh.txt", "newcomers.txt", "prize.txt", "threat.txt"])
def test_plain_harm_is_not_allowed(name: str, inbox: tuple[dict[str, dict[str, Any]], Summary]) -> None:
    assert inbox[0][f"posts/{name}"]["action"] != "allow"


def test_sounds_alone_and_what_cannot_be_read_are_never_allowed(
    inbox: tuple[dict[str, dict[str, Any]], Summary],
) -> None:
    lines, _ = inbox
    media = {name: line for name, line in lines.items() if not name.endswith((".txt", ".md"))}
    assert len(media) == 8
    for name, line in media.items():
        judged = name.startswith("pictures/") and "broken" not in name
        assert bool(line["degraded"]) is not judged, name
        assert judged or line["action"] != "allow", name
    assert lines["pictures/ball.gif"]["coverage"] == {"image[0]": pytest.approx(8 / 12, abs=1e-6)}


def test_posts_of_several_parts_are_all_read(moderator: Moderator, tmp_path: Path) -> None:
    lines, _ = scan(moderator, POSTS, tmp_path)
    given = [json.loads(line) for line in POSTS.read_text(encoding="utf-8").splitlines()]
    assert [line["id"] for line in lines] == [post["id"] for post in given]
    for post, line in zip(given, lines, strict=True):
        assert set(line["scores"]) == set(DEFAULT.names)
        # a text or a picture is enough to go by; a sound by itself is not
        assert bool(line["degraded"]) is not ("text" in post or "image" in post), line


def test_the_chat_filter_shows_only_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    messages = ["see you at six", "\u200b", "i know where you live, i will kill you"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(messages) + "\n"))
    runpy.run_path(str(ROOT / "examples" / "chat_filter.py"), run_name="__main__")
    shown, said = (text.splitlines() for text in capsys.readouterr())
    assert len(shown) == len(messages)
    assert shown[1] == "[message 2 held for a moderator]"
    assert "2: not fully judged: text[0]: empty: no visible characters" in said
    assert messages[2] not in shown  # a listed threat, whatever the model says


@pytest.mark.parametrize("policy", POLICIES)
def test_policies_in_the_documentation_load(policy: str) -> None:
    loaded = load_policy(policy.encode(), DEFAULT.names, SIGNALS)
    assert loaded.rules


def test_cases_in_the_documentation_hold() -> None:
    page = [block for name, block in YAML if name == "policies.md"]
    (cases,) = [block for block in page if block.startswith("- ")]
    policy = load_policy(page[0].encode(), DEFAULT.names, SIGNALS)
    results = run_cases(policy, load_cases(cases.encode(), policy, DEFAULT.names, SIGNALS), SIGNALS)
    assert {result.case.name: result.problem for result in results if result.problem} == {}
    matched = {match.rule for result in results for match in result.outcome.matches}
    assert matched == {rule.name for rule in policy.rules}


def test_policy_errors_read_as_documented() -> None:
    page = ROOT / "docs" / "policies.md"
    policy = (
        blocks(page, "yaml")[0]
        .replace("hate >= 0.92", "hatred >= 0.92")
        .replace("hate >= 0.55", "hate >= 55")
    )
    with pytest.raises(PolicyError) as caught:
        load_policy(policy.encode(), DEFAULT.names, SIGNALS, "forum.yaml")
    for problem in caught.value.problems:
        assert f"    {problem}\n" in page.read_text(encoding="utf-8")


def test_settings_in_the_documentation_are_accepted(tmp_path: Path) -> None:
    block, *speech = blocks(ROOT / "docs" / "install.md", "toml")[::-1]
    file = tmp_path / "moderator.toml"
    for each in speech:
        file.write_text(each, encoding="utf-8")
        assert "asr" in load_settings(file, {}).plugins
    file.write_text(block, encoding="utf-8")
    assert load_settings(file, {}).policy == "strict"


def test_training_configuration_in_the_documentation_is_accepted(tmp_path: Path) -> None:
    sentences, block, teacher, *_ = blocks(ROOT / "docs" / "training.md", "toml")
    file = tmp_path / "train.toml"
    file.write_text(block + teacher, encoding="utf-8")
    assert read_config(file).text.caps == {"forum": 20000}
    assert read_config(file).teacher.labels["toxic"] == "toxicity"
    file.write_text(sentences, encoding="utf-8")
    assert len(read_text([file], labels=DEFAULT.names)) == 2
