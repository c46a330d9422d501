"""PluginHost: what it takes, what it refuses and how it says so."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from moderator import host as host_module
from moderator.errors import PluginError
from moderator.hookspecs import hookimpl
from moderator.host import PluginHost
from moderator.plugin import Detector, Embedder
from moderator.settings import Settings
from moderator.testing import FakeDetector, fake_embedder
from moderator.types import PluginFailure, SignalSpec


def plugin(**hooks: Callable[..., Any]) -> types.SimpleNamespace:
    """An object that implements the given hooks."""
    return types.SimpleNamespace(**{name: hookimpl(function) for name, function in hooks.items()})


def embedder(name: str) -> type[Embedder]:
    def no_tensor(_: Any) -> Any:
        raise AssertionError("nothing is embedded here")

    return fake_embedder(no_tensor, name=name)


def detector(name: str, **attributes: Any) -> type[Detector]:
    own = (SignalSpec(name.replace("-", "_")),)
    return type(name, (FakeDetector,), {"name": name, "signals": own, **attributes})


def reasons(host: PluginHost) -> list[str]:
    return [f"{failure.plugin}/{failure.stage}: {failure.error}" for failure in host.failures]


def test_collects_every_kind_and_says_where_it_is_from(tmp_path: Path) -> None:
    policy = tmp_path / "house.yaml"
    policy.touch()
    host = PluginHost(
        {
            "one": plugin(register_embedders=lambda: [embedder("text-one")]),
            "two": plugin(
                register_detectors=lambda: (detector(name) for name in ("words", "more-words")),
                register_policies=lambda: [policy],
            ),
        }
    )
    assert list(host.embedders) == ["text-one"]
    assert list(host.detectors) == ["words", "more-words"]
    assert dict(host.policies) == {"house": policy}
    assert host.origins["text-one"] == "one (registered in this process)"
    assert host.origins["house"] == "two (registered in this process)"
    assert host.registered == ("one", "two")
    assert not host.failures


def test_options_reach_the_plugin_they_are_for() -> None:
    settings = Settings(plugins={"words": {"words": ["darn"]}})
    host = PluginHost(
        {"w": plugin(register_detectors=lambda: [detector("words"), detector("others")])}, settings
    )
    assert host.detectors["words"].options == {"words": ["darn"]}
    assert host.detectors["others"].options == {}


def test_option_table_of_no_plugin_is_said() -> None:
    host = PluginHost(
        {"w": plugin(register_detectors=lambda: [detector("words")])}, Settings(plugins={"wrods": {}})
    )
    assert reasons(host) == ["wrods/options: [plugins.wrods] configures no usable plugin; usable are words"]


def test_bad_option_is_the_failure_of_that_plugin_alone() -> None:
    settings = Settings(plugins={"words": {"words": [3]}})
    host = PluginHost(
        {"w": plugin(register_detectors=lambda: [detector("words"), detector("others")])}, settings
    )
    assert list(host.detectors) == ["others"]
    assert "w/construct: words: words: words must be non-empty strings, got [3]" in reasons(host)


@pytest.mark.parametrize("error", [RuntimeError("no licence"), SystemExit(3)])
def test_a_raising_hook_does_not_hide_the_others(error: BaseException) -> None:
    def fail() -> Any:
        raise error

    def fail_midway() -> Any:
        yield detector("half")
        raise error

    host = PluginHost(
        {
            "a": plugin(register_detectors=fail, register_embedders=lambda: [embedder("kept")]),
            "b": plugin(register_detectors=fail_midway),
            "c": plugin(register_detectors=lambda: [detector("words")]),
        }
    )
    assert list(host.detectors) == ["words"]
    assert list(host.embedders) == ["kept"]
    said = f"{type(error).__name__}: {error}"
    assert reasons(host) == [f"a/register_detectors: {said}", f"b/register_detectors: {said}"]


def test_keyboard_interrupt_is_not_a_plugin_failure() -> None:
    def interrupted() -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        PluginHost({"a": plugin(register_detectors=interrupted)})


def test_name_taken_names_both_plugins() -> None:
    host = PluginHost(
        {
            "first": plugin(register_detectors=lambda: [detector("words")]),
            "second": plugin(register_embedders=lambda: [embedder("words")]),
        }
    )
    assert not host.embedders
    assert reasons(host) == [
        "second/construct: words: second (registered in this process) and first (registered in this process) "
        "both use this name; rename one, or leave one out with allow_plugins"
    ]


class Unfinished(Detector):
    name = "unfinished"
    modality = FakeDetector.modality


class NotAModality(FakeDetector):
    name = "odd"
    modality = "text"  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("offered", "said"),
    [
        (object(), "is not a subclass of Detector"),
        (embedder("text-one"), "is not a subclass of Detector"),
        (FakeDetector(), "is not a subclass of Detector"),
        (Unfinished, "unfinished: does not define detect_batch, examples, fingerprint, load, signals"),
        (NotAModality, "odd: modality 'text' must be a member of moderator.types.Modality"),
        (detector("Bad Name"), "name 'Bad Name' must be lower-case letters and digits, joined by dashes"),
        (
            detector("sig", signals=(SignalSpec("Bad-Signal"),)),
            "sig: signal 'Bad-Signal' must be lower-case letters, digits and underscores, no digit first",
        ),
        (detector("sig", signals=(SignalSpec("s", 1, 1),)), "sig: signal 's' has an empty range [1, 1]"),
        (detector("sig", signals=(SignalSpec("s"),) * 2), "sig: a signal is declared twice: s, s"),
    ],
)
def test_unusable_class_is_refused(offered: object, said: str) -> None:
    host = PluginHost({"w": plugin(register_detectors=lambda: [offered, detector("words")])})
    assert list(host.detectors) == ["words"]
    assert list(host.origins) == ["words"]
    (failure,) = host.failures
    assert (failure.plugin, failure.stage) == ("w", "construct")
    assert said in failure.error


def test_a_name_in_policies_means_one_thing() -> None:
    def declaring(name: str, *signals: str) -> type[Detector]:
        return detector(name, signals=tuple(SignalSpec(each) for each in signals))

    host = PluginHost(
        {
            "v": plugin(register_detectors=lambda: [declaring("a", "s")]),
            "w": plugin(
                register_detectors=lambda: [
                    declaring("b", "t", "s"),
                    declaring("c", "hate"),
                    declaring("d", "item"),
                    declaring("e", "t"),
                ]
            ),
        }
    )
    assert list(host.detectors) == ["a", "e"]
    assert reasons(host) == [
        "w/construct: b: signal 's' is declared by a (v (registered in this process)) already; "
        "give it another name, or leave one of the two out with allow_plugins",
        "w/construct: c: signal 'hate' has the name of a label; give it another name",
        "w/construct: d: signal 'item' is what policies call a post's context; rename it",
    ]


def test_plugins_whose_failure_may_have_taken_signals_along(installed: Installed) -> None:
    def fail() -> Any:
        raise RuntimeError("no licence")

    modules = {
        "one": plugin(register_embedders=fail, register_policies=fail),
        "two": plugin(register_detectors=fail),
        "three": plugin(register_detectors=lambda: [detector("words"), object(), object()]),
    }
    installed(modules, {"one": "one", "two": "two", "three": "three", "gone": "no_such_module"})
    host = PluginHost.discover(Settings(plugins={"nothing": {}}))
    assert host.lost == ("gone", "three", "two")


def test_what_plugins_print_goes_to_standard_error(
    installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    def hook() -> Any:
        print("hook")  # noqa: T201
        yield type("Chatty", (FakeDetector,), {"__init__": construct})

    def construct(self: Any, options: Any = None) -> None:
        print("constructed")  # noqa: T201
        FakeDetector.__init__(self, options)

    installed({"chatty": plugin(register_detectors=hook)}, {"chatty": "chatty"})
    assert not PluginHost.discover(Settings()).failures
    assert capsys.readouterr() == ("", "hook\nconstructed\n")


@pytest.mark.parametrize("offered", ["missing.yaml", "notes.txt", "."])
def test_policy_must_be_an_existing_yaml_file(tmp_path: Path, offered: str) -> None:
    (tmp_path / "notes.txt").touch()
    host = PluginHost({"w": plugin(register_policies=lambda: [tmp_path / offered])})
    assert not host.policies
    assert "is not an existing .yaml file" in reasons(host)[0]


def test_policy_must_be_a_file_object() -> None:
    host = PluginHost({"w": plugin(register_policies=lambda: ["rules/default.yaml"])})
    assert "expected files (pathlib or resources)" in reasons(host)[0]


def test_hook_must_return_an_iterable() -> None:
    host = PluginHost({"w": plugin(register_detectors=lambda: FakeDetector)})
    assert reasons(host) == [
        f"w/register_detectors: register_detectors returned {FakeDetector!r}, expected an iterable"
    ]


def test_unknown_hook_and_no_hook_are_said() -> None:
    def nothing() -> list[object]:
        return []

    host = PluginHost({"a": plugin(register_detector=nothing), "b": plugin()})
    known = "register_detectors, register_embedders, register_extractors, register_policies"
    assert reasons(host) == [
        f"a/register: unknown hook 'register_detector'; known are {known}",
        f"b/register: implements no hook; known are {known}",
    ]


def test_wrong_hook_arguments_leave_nothing_registered() -> None:
    def greedy(config: object) -> Any:
        return [config]

    host = PluginHost({"a": plugin(register_detectors=greedy, register_embedders=lambda: [embedder("e")])})
    assert not host.embedders
    assert host.registered == ()
    assert host.failures[0].stage == "register"


def test_one_object_under_two_names() -> None:
    same = plugin(register_detectors=lambda: [FakeDetector])
    host = PluginHost({"a": same, "b": same})
    assert reasons(host) == ["b/register: is the same object as plugin 'a'"]
    assert list(host.detectors) == ["fake-detector"]


@dataclass
class Installed:
    """Puts modules and entry points in place as an installer would."""

    monkeypatch: pytest.MonkeyPatch

    def __call__(self, modules: Mapping[str, object], entries: Mapping[str, str]) -> None:
        for name, module in modules.items():
            self.monkeypatch.setitem(sys.modules, name, module)
        found = [EntryPoint(name, value, "moderator") for name, value in entries.items()]
        self.monkeypatch.setattr(host_module, "entry_points", lambda group: found)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Installed:
    return Installed(monkeypatch)


def test_discovery_goes_by_name_and_isolates_failing_imports(installed: Installed) -> None:
    good = plugin(register_detectors=lambda: [detector("words")])
    also = plugin(register_detectors=lambda: [detector("numbers")])
    installed(
        {"good_plugin": good, "also_plugin": also},
        {"z": "good_plugin", "m": "no_such_module", "a": "also_plugin"},
    )
    host = PluginHost.discover(Settings())
    assert list(host.detectors) == ["numbers", "words"]
    assert host.failures == (
        PluginFailure("m", "load", "ModuleNotFoundError: No module named 'no_such_module'"),
    )


def test_allow_list_keeps_others_from_being_imported(installed: Installed) -> None:
    good = plugin(register_detectors=lambda: [detector("words")])
    installed({"good_plugin": good}, {"good": "good_plugin", "other": "no_such_module"})
    host = PluginHost.discover(Settings(allow_plugins=("good", "gone")))
    assert list(host.detectors) == ["words"]
    assert dict(host.blocked) == {"other": "unknown distribution: not in allow_plugins"}
    assert reasons(host) == [
        "gone/load: named in allow_plugins, but no installed package has this entry point"
    ]


def test_empty_allow_list_blocks_all(installed: Installed) -> None:
    installed({}, {"other": "no_such_module"})
    host = PluginHost.discover(Settings(allow_plugins=()))
    assert list(host.blocked) == ["other"]
    assert not host.failures


def test_two_distributions_with_one_entry_point_name(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [EntryPoint("same", "moderator.testing", "moderator")] * 2
    monkeypatch.setattr(host_module, "entry_points", lambda group: found)
    host = PluginHost.discover(Settings())
    assert (
        "same/load: unknown distribution and unknown distribution both have an entry point of this name; "
        "uninstall one of them"
    ) in reasons(host)


def test_shipped_plugins_are_found_without_failures() -> None:
    host = PluginHost.discover(Settings())
    assert not host.failures
    assert {"audio", "image", "lexicon", "rules", "text"} <= set(host.registered)
    assert host.embedders
    assert host.detectors
    assert {"default", "strict"} <= set(host.policies)
    assert host.origins["default"].startswith("rules (moderator ")


def test_plugin_error_text_is_not_prefixed_with_its_type() -> None:
    def fail() -> Any:
        raise PluginError("install the extra")

    host = PluginHost({"a": plugin(register_detectors=fail)})
    assert reasons(host) == ["a/register_detectors: install the extra"]


def test_reasons_have_no_addresses() -> None:
    host = PluginHost({"w": plugin(register_detectors=lambda: [object()])})
    assert reasons(host) == ["w/construct: <object object> is not a subclass of Detector"]
