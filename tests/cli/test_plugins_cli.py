"""``moderator plugins`` and ``moderator models``, with plugins put in place as an installer would."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

import moderator.models.default
from moderator import host as host_module
from moderator.cli import cli
from moderator.errors import WeightsError
from moderator.hookspecs import hookimpl
from moderator.plugin import Plugin
from moderator.testing import FakeDetector, fake_embedder
from moderator.types import Content, Signal, SignalSpec
from moderator.weights import Weights, find_weights, sha256_of

Fake = fake_embedder(torch.from_numpy, name="fake-text")


class Careless(FakeDetector):
    name = "careless"
    signals = (SignalSpec("care"),)

    def load(self, device: str) -> None:
        print("a word on standard output")  # noqa: T201

    def detect_batch(self, contents: Sequence[Content]) -> list[list[Signal]]:
        return [[Signal("care", 7.0)] for _ in contents]


class Crashing(FakeDetector):
    name = "crashing"
    signals = (SignalSpec("crashes"),)

    def weights(self) -> Sequence[Weights]:
        raise RuntimeError("a bug")


class Remote(Fake):  # type: ignore[valid-type,misc]
    name = "remote"

    def weights(self) -> Sequence[Weights]:
        return [find_weights(self.name, "model.safetensors", repo="someone/something")]


class Local(Fake):  # type: ignore[valid-type,misc]
    name = "local"

    def weights(self) -> Sequence[Weights]:
        path = Path(self.options["weights"])
        if not path.is_file():
            raise WeightsError(f"local: no weights at {path}")
        return [
            Weights(each, sha256_of(each), "path")
            for each in (path, *map(Path, self.options.get("more", ())))
        ]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Make exactly these plugin classes the installed ones, and run in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def installed(embedders: Sequence[type[Plugin]] = (), detectors: Sequence[type[Plugin]] = ()) -> None:
        module = types.SimpleNamespace(
            register_embedders=hookimpl(lambda: embedders), register_detectors=hookimpl(lambda: detectors)
        )
        monkeypatch.setitem(sys.modules, "fake_plugin", module)
        entries = [
            EntryPoint("fakes", "fake_plugin", "moderator"),
            EntryPoint("lost", "no_such_module", "moderator"),
        ]
        monkeypatch.setattr(host_module, "entry_points", lambda group: entries)

    return installed


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def rows(result: Result) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in json.loads(result.stdout)}


def test_list_shows_what_is_usable_and_what_is_not(install: Any) -> None:
    install([Fake], [FakeDetector])
    found = rows(run("plugins", "list", "--json"))
    assert found["fake-text"] == {
        "id": "fake-text",
        "kind": "embedder",
        "modality": "text",
        "status": "ok",
        "origin": "fakes (unknown distribution)",
        "detail": "",
    }
    assert found["fake-detector"]["kind"] == "detector"
    assert found["lost"]["status"] == "failed"
    assert found["lost"]["detail"] == "load: ModuleNotFoundError: No module named 'no_such_module'"
    shown = run("plugins", "list").stdout
    assert "fake-detector" in shown
    assert "\nlost is failed: load: ModuleNotFoundError: No module named 'no_such_module'\n" in shown


def test_list_says_what_the_allow_list_blocks(install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    install([Fake])
    monkeypatch.setenv("MODERATOR_ALLOW_PLUGINS", "fakes")
    assert rows(run("plugins", "list", "--json"))["lost"]["status"] == "blocked"


def test_check_passes_what_keeps_the_contract(install: Any) -> None:
    install([Fake], [FakeDetector])
    result = run("plugins", "check", "fake-text", "fake-detector")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "ok      fake-text  11 of 11 checks",
        "ok      fake-detector  12 of 12 checks",
    ]


def test_check_of_an_entry_point_is_of_all_it_provides(install: Any) -> None:
    install([Fake], [FakeDetector])
    assert list(rows(run("plugins", "check", "fakes", "--json"))) == ["fake-text", "fake-detector"]


def test_check_names_the_broken_clause_and_exits_with_1(install: Any) -> None:
    install([], [Careless, FakeDetector])
    result = run("plugins", "check", "fakes")
    assert result.exit_code == 1
    assert "BROKEN  careless" in result.stdout
    assert (
        "gives one valid result per example: content 0: signal 'care' is 7.0, outside [0.0, 1.0]"
        in result.stdout
    )
    assert "ok      fake-detector" in result.stdout
    assert "standard output" not in result.stdout


def test_check_of_all_counts_what_could_not_be_imported(install: Any) -> None:
    install([Fake])
    result = run("plugins", "check", "--json")
    assert result.exit_code == 1
    found = rows(result)
    assert found["lost"]["checks"][0]["check"] == "load"
    assert found["fake-text"]["ok"]
    assert found["fake-text"]["fingerprint"] == "1:fake-8"


def test_check_of_an_unknown_name_is_a_usage_error(install: Any) -> None:
    install([Fake])
    result = run("plugins", "check", "fake-txt")
    assert result.exit_code == 2
    assert (
        "no embedder, detector, extractor or entry point 'fake-txt'; there are fake-text, fakes"
        in result.stderr
    )


def test_models_lists_weights_and_how_to_get_the_missing(install: Any, tmp_path: Path) -> None:
    install([Fake, Local, Remote], [FakeDetector, Crashing])
    weights = tmp_path / "local.safetensors"
    weights.write_bytes(b"weights")
    (tmp_path / "moderator.toml").write_text(f'model = "trained"\n[plugins.local]\nweights = "{weights}"\n')
    found = rows(run("models", "list", "--json"))
    assert found["fusion"]["status"] == "missing"
    assert "no checkpoint at trained/fusion.safetensors; train one with" in found["fusion"]["detail"]
    assert found["local"]["status"] == "found"
    assert found["local"]["path"] == str(weights)
    assert found["local"]["sha256"].startswith(found["local"]["digest"])
    assert found["fake-text"]["status"] == "no weights"
    assert found["remote"]["status"] == "missing"
    assert "it is fetched from someone/something on the hub when first used" in found["remote"]["detail"]
    assert found["crashing"]["detail"] == "RuntimeError: a bug"
    assert "fake-detector" not in found

    weights.unlink()
    assert rows(run("models", "list", "--json"))["local"]["detail"] == f"local: no weights at {weights}"


def test_models_have_unique_ids_and_say_what_came_with_the_package(install: Any, tmp_path: Path) -> None:
    install([Local])
    shipped = Path(moderator.models.default.__path__[0]) / "text-lexical.safetensors"
    other = tmp_path / "model.safetensors"
    again = tmp_path / "again" / "model.safetensors"
    again.parent.mkdir()
    for each in (other, again):
        each.write_bytes(b"weights")
    (tmp_path / "moderator.toml").write_text(
        f'[plugins.local]\nweights = "{shipped}"\nmore = ["{other}", "{again}"]\n'
    )
    listed = json.loads(run("models", "list", "--json").stdout)
    assert [(row["id"], row["origin"]) for row in listed] == [
        ("fusion", "package"),
        ("local/text-lexical.safetensors", "package"),
        (f"local/{other}", "path"),
        (f"local/{again}", "path"),
    ]


def test_models_finds_a_trained_checkpoint(install: Any, tmp_path: Path) -> None:
    install()
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "fusion.safetensors").write_bytes(b"weights")
    (tmp_path / "moderator.toml").write_text('model = "trained"\n')
    result = run("models", "list")
    assert result.exit_code == 0
    assert "found" in result.stdout
    assert "\nfusion: trained/fusion.safetensors\n" in result.stdout
