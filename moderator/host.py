"""PluginHost: finds plugins, keeps one plugin's failure from touching the others, says what it has.

pluggy stops at the first entry point that fails to import and at the first hook that raises, so both
are done here one by one, and whatever goes wrong becomes a ``PluginFailure``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from importlib.metadata import EntryPoint, entry_points
from importlib.resources.abc import Traversable
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, Final, TypeVar

import pluggy

from moderator import hookspecs
from moderator.contract import checked_class, checked_signals
from moderator.errors import PluginError
from moderator.media.files import told
from moderator.plugin import Detector, Embedder, Extractor, Plugin
from moderator.settings import Settings
from moderator.taxonomy import DEFAULT
from moderator.types import PluginFailure

GROUP: Final = "moderator"
"""The entry-point group plugins are found in."""

_SHIPPED_WITH: Final = "moderator"
_POLICY_SUFFIXES: Final = (".yaml", ".yml")
# A plugin that calls sys.exit() must not end a scan; Ctrl-C must.
_FAILURES: Final = (Exception, SystemExit)
# Where a failure may have taken a detector along; other hooks bring none.
_MAY_LOSE_SIGNALS: Final = frozenset(("load", "register", "register_detectors", "construct"))

P = TypeVar("P", bound=Plugin)


class PluginHost:
    """Every usable embedder, detector, extractor and policy, and why the others are not.

    Plugins are constructed, not loaded: weights are fetched when a model or a policy needs them. What they
    print meanwhile goes to standard error, since standard output may be a stream of verdicts.
    ``policies`` are files by name (stem). Names are unique across all four; the
    plugin registered first keeps its name. ``origins`` says where each name comes from
    (``"text (moderator 0.1.0)"``), ``distributions`` which package each entry point belongs to,
    ``registered`` which entry points are in use, ``blocked`` which were not imported, and why.
    """

    embedders: Mapping[str, Embedder]
    detectors: Mapping[str, Detector]
    extractors: Mapping[str, Extractor]
    policies: Mapping[str, Traversable]
    origins: Mapping[str, str]
    distributions: Mapping[str, str]
    registered: Sequence[str]
    blocked: Mapping[str, str]
    failures: Sequence[PluginFailure]

    def __init__(
        self,
        plugins: Mapping[str, object],
        settings: Settings | None = None,
        *,
        labels: Sequence[str] = DEFAULT.names,
        distributions: Mapping[str, str] | None = None,
        blocked: Mapping[str, str] | None = None,
        failures: Iterable[PluginFailure] = (),
    ) -> None:
        """Register modules (or any objects with hook implementations) by name, in the given order.

        ``labels`` are names no signal may have. ``distributions`` says which installed distribution a plugin
        came with. ``blocked`` and ``failures`` carry what happened before, during discovery.
        """
        self._settings = settings or Settings()
        self._embedders: dict[str, Embedder] = {}
        self._detectors: dict[str, Detector] = {}
        self._extractors: dict[str, Extractor] = {}
        self._policies: dict[str, Traversable] = {}
        self._origins: dict[str, str] = {}
        self._failures = list(failures)
        self._labels = frozenset(labels)
        self._signals: dict[str, str] = {}
        """Signal → the detector that declares it."""

        self.embedders = MappingProxyType(self._embedders)
        self.detectors = MappingProxyType(self._detectors)
        self.extractors = MappingProxyType(self._extractors)
        self.policies = MappingProxyType(self._policies)
        self.origins = MappingProxyType(self._origins)
        self.distributions = MappingProxyType(
            {**dict.fromkeys(plugins, "registered in this process"), **(distributions or {})}
        )
        self.blocked = MappingProxyType(dict(blocked or {}))
        with redirect_stdout(sys.stderr):
            managers = {name: self._register(name, plugin, plugins) for name, plugin in plugins.items()}
            self.registered = tuple(name for name, manager in managers.items() if manager)
            for name, manager in managers.items():
                if manager:
                    self._collect(name, manager)
        self._check_option_tables()
        self.failures = tuple(self._failures)

    @classmethod
    def discover(cls, settings: Settings, labels: Sequence[str] = DEFAULT.names) -> PluginHost:
        """Import every allowed entry point of the group ``moderator`` and register what it provides.

        Plugins shipped with the toolkit come first, so that none can take over their names; then all
        in the order of their entry-point names. With ``settings.allow_plugins``, others are not imported.
        """
        plugins: dict[str, object] = {}
        distributions: dict[str, str] = {}
        blocked: dict[str, str] = {}
        failures: list[PluginFailure] = []
        for entry in sorted(entry_points(group=GROUP), key=_order):
            distribution = _distribution(entry)
            if settings.allow_plugins is not None and entry.name not in settings.allow_plugins:
                blocked[entry.name] = f"{distribution}: not in allow_plugins"
                continue
            if entry.name in distributions:
                failures.append(
                    PluginFailure(
                        entry.name,
                        "load",
                        f"{distribution} and {distributions[entry.name]} both have an entry point of this "
                        "name; uninstall one of them",
                    )
                )
                continue
            distributions[entry.name] = distribution
            try:
                with redirect_stdout(sys.stderr):
                    plugins[entry.name] = entry.load()
            except _FAILURES as error:
                failures.append(PluginFailure(entry.name, "load", told(error)))
        failures.extend(
            PluginFailure(
                name, "load", "named in allow_plugins, but no installed package has this entry point"
            )
            for name in settings.allow_plugins or ()
            if name not in distributions
        )
        return cls(
            plugins,
            settings,
            labels=labels,
            distributions=distributions,
            blocked=blocked,
            failures=failures,
        )

    @property
    def plugins(self) -> Mapping[str, Plugin]:
        """Embedders, detectors and extractors by name."""
        return {**self._embedders, **self._detectors, **self._extractors}

    @property
    def lost(self) -> Sequence[str]:
        """Plugins that failed such that detectors, and with them signals, may be missing."""
        return tuple(dict.fromkeys(each.plugin for each in self.failures if each.stage in _MAY_LOSE_SIGNALS))

    def _fail(self, plugin: str, stage: str, error: BaseException | str) -> None:
        reason = error if isinstance(error, str) else told(error)
        self._failures.append(PluginFailure(plugin, stage, reason))

    def _register(
        self, name: str, plugin: object, plugins: Mapping[str, object]
    ) -> pluggy.PluginManager | None:
        """A manager of its own for each plugin: what one breaks in it, or leaves behind, is its own."""
        first = next(other for other, each in plugins.items() if each is plugin)
        if first != name:
            self._fail(name, "register", f"is the same object as plugin {first!r}")
            return None
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        known = ", ".join(sorted(vars(manager.hook)))
        try:
            manager.register(plugin, name)
        except _FAILURES as error:
            self._fail(name, "register", error)
            return None
        callers = manager.get_hookcallers(plugin) or []
        for caller in callers:
            if not caller.has_spec():
                self._fail(name, "register", f"unknown hook {caller.name!r}; known are {known}")
        if not callers:
            self._fail(name, "register", f"implements no hook; known are {known}")
        return manager

    def _collect(self, name: str, manager: pluggy.PluginManager) -> None:
        adders = {
            "register_embedders": self._add_embedder,
            "register_detectors": self._add_detector,
            "register_extractors": self._add_extractor,
            "register_policies": self._add_policy,
        }
        for hook, add in adders.items():
            for made in self._returned(name, manager, hook):
                try:
                    add(name, made)
                except _FAILURES as error:
                    self._fail(name, "construct", error)

    def _returned(self, name: str, manager: pluggy.PluginManager, hook: str) -> list[Any]:
        """What one plugin's implementation of ``hook`` returned, drained here, where it may raise."""
        try:
            results = getattr(manager.hook, hook)()
            for result in results:
                if isinstance(result, str) or not isinstance(result, Iterable):
                    raise PluginError(f"{hook} returned {result!r}, expected an iterable")
            return [each for result in results for each in result]
        except _FAILURES as error:
            self._fail(name, hook, error)
            return []

    def _add_embedder(self, owner: str, made: object) -> None:
        # mypy refuses an abstract class as type[T]; here it is only compared with
        kind = checked_class(made, Embedder)  # type: ignore[type-abstract]
        embedder = self._construct(owner, kind)
        self._embedders[kind.name] = embedder
        self._origins[kind.name] = self._origin(owner)

    def _add_detector(self, owner: str, made: object) -> None:
        kind = checked_class(made, Detector)  # type: ignore[type-abstract]
        detector = self._construct(owner, kind)
        try:
            signals = [spec.name for spec in checked_signals(detector)]
            self._check_free(signals)
        except _FAILURES as error:
            raise PluginError(f"{kind.name}: {told(error)}") from error
        self._signals.update(dict.fromkeys(signals, kind.name))
        self._detectors[kind.name] = detector
        self._origins[kind.name] = self._origin(owner)

    def _add_extractor(self, owner: str, made: object) -> None:
        kind = checked_class(made, Extractor)  # type: ignore[type-abstract]
        if not kind.usable(self._settings.plugins.get(kind.name, {})):
            return
        self._extractors[kind.name] = self._construct(owner, kind)
        self._origins[kind.name] = self._origin(owner)

    def _construct(self, owner: str, kind: type[P]) -> P:
        self._claim(kind.name, owner)
        try:
            return kind(self._settings.plugins.get(kind.name))
        except _FAILURES as error:
            raise PluginError(f"{kind.name}: {told(error)}") from error

    def _check_free(self, signals: Iterable[str]) -> None:
        """A name in a policy must mean one thing."""
        for name in signals:
            if name in self._labels:
                raise PluginError(f"signal {name!r} has the name of a label; give it another name")
            if name in self._signals:
                where = self._signals[name]
                raise PluginError(
                    f"signal {name!r} is declared by {where} ({self._origins[where]}) already; "
                    "give it another name, or leave one of the two out with allow_plugins"
                )

    def _add_policy(self, owner: str, file: object) -> None:
        if not isinstance(file, Traversable):
            raise PluginError(f"register_policies returned {file!r}, expected files (pathlib or resources)")
        path = PurePath(file.name)
        if path.suffix not in _POLICY_SUFFIXES or not file.is_file():
            raise PluginError(f"policy {file} is not an existing .yaml file")
        self._claim(path.stem, owner)
        self._policies[path.stem] = file
        self._origins[path.stem] = self._origin(owner)

    def _claim(self, name: str, owner: str) -> None:
        if name in self._origins:
            raise PluginError(
                f"{name}: {self._origin(owner)} and {self._origins[name]} both use this name; rename one, "
                "or leave one out with allow_plugins"
            )

    def _origin(self, owner: str) -> str:
        return f"{owner} ({self.distributions[owner]})"

    def _check_option_tables(self) -> None:
        known = sorted(self.plugins)
        for name in self._settings.plugins:
            if name not in known:
                self._fail(
                    name,
                    "options",
                    f"[plugins.{name}] configures no usable plugin; usable are {', '.join(known) or 'none'}",
                )


def _order(entry: EntryPoint) -> tuple[bool, str, str]:
    distribution = _distribution(entry)
    return distribution.partition(" ")[0] != _SHIPPED_WITH, entry.name, distribution


def _distribution(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown distribution"
