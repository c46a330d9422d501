"""``moderator policy``: what policies there are, whether they are sound, whether their cases hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import click

from moderator.cli.output import json_option, print_json, print_rows
from moderator.errors import PolicyError
from moderator.host import PluginHost
from moderator.pipeline.models import labels_of
from moderator.policy import (
    CaseResult,
    Policy,
    PolicyFiles,
    QueueRule,
    find_policy,
    load_cases,
    load_policy,
    run_cases,
)
from moderator.settings import load_settings
from moderator.types import SignalSpec


@dataclass(frozen=True, slots=True)
class _Installed:
    """What policies are checked against, and those that plugins bring."""

    policies: Mapping[str, Traversable]
    origins: Mapping[str, str]
    signals: Sequence[SignalSpec]
    labels: Sequence[str]
    """Of the configured model."""
    blocked: Sequence[str]

    def load(self, files: PolicyFiles) -> Policy:
        loaded = load_policy(files.source, self.labels, self.signals, files.shown, blocked=self.blocked)
        if files.name in self.policies and loaded.name != files.name:
            raise PolicyError(
                [f"{files.shown}:1: name is {loaded.name!r}, but its file is called {files.name!r}"]
            )
        return loaded


def _installed() -> _Installed:
    settings = load_settings()
    labels = labels_of(settings.model)
    host = PluginHost.discover(settings, labels)
    signals = [spec for detector in host.detectors.values() for spec in detector.signals]
    if host.failures:  # a policy may lack just that plugin's signals
        from moderator.cli.verdict_view import failure_lines

        for line in failure_lines(host.failures):
            click.echo(line, err=True)
    return _Installed(host.policies, host.origins, signals, labels, tuple(host.blocked))


@click.group()
def policy() -> None:
    """List, show, check and test policies."""


@policy.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the policies that plugins bring, with version, rules and state."""
    installed = _installed()
    rows = [_row(name, installed) for name in sorted(installed.policies)]
    columns = ("id", "version", "rules", "otherwise", "status", "description")
    print_rows(rows, columns, as_json=as_json, empty="no policy is installed")


def _row(name: str, installed: _Installed) -> dict[str, Any]:
    row = {"id": name, "origin": installed.origins.get(name, ""), "file": str(installed.policies[name])}
    try:
        loaded = installed.load(find_policy(name, installed.policies))
    except PolicyError as error:
        return row | {"status": f"broken, {len(error.problems)} problems", "problems": list(error.problems)}
    return row | _summary(loaded) | {"status": "ok"}


def _summary(loaded: Policy) -> dict[str, Any]:
    return {
        "version": loaded.version,
        "rules": len(loaded.rules),
        "otherwise": loaded.otherwise.value,
        "on_degraded": loaded.on_degraded.value,
        "queues": [rule.name for rule in loaded.queues],
        "digest": loaded.digest,
        "description": loaded.description,
    }


@policy.command()
@click.argument("policy_", metavar="NAME|FILE")
@json_option
def show(policy_: str, as_json: bool) -> None:
    """Show a policy: its rules, what it uses, its digest."""
    installed = _installed()
    files = find_policy(policy_, installed.policies)
    loaded = installed.load(files)
    rules = [
        {"id": rule.name, "then": rule.then.value, "when": rule.when, "why": rule.why, "line": rule.line}
        for rule in loaded.rules
    ]
    queues = [_queue_row(rule) for rule in loaded.queues]
    if as_json:
        about = {
            "id": loaded.name,
            "file": files.shown,
            **_summary(loaded),
            "labels": sorted(loaded.labels),
            "signals": sorted(loaded.signals),
            "uses_context": loaded.uses_context,
        }
        print_json(about | {"rules": rules, "queues": queues, "priority": _weights(loaded)})
        return
    click.echo(f"{loaded.name}, version {loaded.version} ({files.shown})")
    if loaded.description:
        click.echo(loaded.description)
    click.echo(f"digest {loaded.digest}")
    click.echo(f"otherwise {loaded.otherwise.value}, if degraded at least {loaded.on_degraded.value}")
    click.echo(f"labels: {', '.join(sorted(loaded.labels)) or 'none'}")
    click.echo(f"signals: {', '.join(sorted(loaded.signals)) or 'none'}")
    click.echo(f"context: {'used' if loaded.uses_context else 'not used'}\n")
    print_rows(rules, ("id", "then", "when", "why"), as_json=False, empty="no rules")
    click.echo("")
    print_rows(queues, ("id", "due", "role", "lease", "when"), as_json=False, empty="no queues")


def _queue_row(rule: QueueRule) -> dict[str, Any]:
    route = rule.route
    return {
        "id": rule.name,
        "when": rule.when,
        "due": _length(route.due),
        "role": route.role.value,
        "lease": None if route.lease is None else _length(route.lease),
        "line": rule.line,
    }


def _weights(loaded: Policy) -> dict[str, Any]:
    weights = loaded.weights
    return {
        "severity": dict(weights.severity),
        "blocked": weights.blocked,
        "uncertainty": weights.uncertainty,
        "reach": weights.reach,
        "doubling": _length(weights.doubling),
    }


def _length(time: timedelta) -> str:
    """As policies write it: ``90m``, ``4h``, ``2d``."""
    minutes = time // timedelta(minutes=1)
    for unit, each in (("d", 1440), ("h", 60)):
        if minutes % each == 0:
            return f"{minutes // each}{unit}"
    return f"{minutes}m"


@policy.command()
@click.argument("policies", metavar="[NAME|FILE]...", nargs=-1)
@json_option
def check(policies: tuple[str, ...], as_json: bool) -> None:
    """Check policies (default: all installed) and the files of their cases; exit 1 on any problem."""
    installed = _installed()
    rows: list[dict[str, Any]] = []
    for wanted in policies or sorted(installed.policies):
        problems = _problems(wanted, installed)
        rows.append({"id": wanted, "ok": not problems, "problems": problems})
    _report(
        rows,
        [line for row in rows for line in row["problems"] or [f"{row['id']}: ok"]],
        as_json=as_json,
        empty="no policy is installed",
    )


def _problems(wanted: str, installed: _Installed) -> list[str]:
    try:
        files = find_policy(wanted, installed.policies)
        loaded = installed.load(files)
        if files.cases is not None:
            load_cases(files.cases, loaded, installed.labels, installed.signals)
    except PolicyError as error:
        return list(error.problems)
    return []


@policy.command()
@click.argument("policies", metavar="[NAME|FILE]...", nargs=-1)
@click.option(
    "--cases",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Cases to run instead of cases/NAME.yaml beside the policy; needs exactly one policy.",
)
@json_option
def test(policies: tuple[str, ...], cases: Path | None, as_json: bool) -> None:
    """Run the test cases of policies (default: all installed); exit 1 if one fails."""
    if cases is not None and len(policies) != 1:
        raise click.UsageError("--cases needs exactly one policy")
    installed = _installed()
    rows: list[dict[str, Any]] = []
    lines: list[str] = []
    for wanted in policies or sorted(installed.policies):
        try:
            shown, results = _run(wanted, cases, installed)
        except PolicyError as error:
            rows.append({"id": wanted, "ok": False, "problems": list(error.problems)})
            lines += error.problems
            continue
        failed = [
            f"{shown}:{result.case.line}: case {result.case.name!r}: {result.problem}"
            for result in results
            if not result.passed
        ]
        rows += [_case_row(wanted, result) for result in results]
        lines += [*failed, f"{wanted}: {len(results) - len(failed)} of {len(results)} cases passed"]
    _report(rows, lines, as_json=as_json, empty="no policy is installed")


def _run(wanted: str, cases: Path | None, installed: _Installed) -> tuple[str, list[CaseResult]]:
    files = find_policy(wanted, installed.policies)
    loaded = installed.load(files)
    source = cases or files.cases
    if source is None:
        raise PolicyError(
            [f"{files.shown}:1: no test cases; write cases/{files.name}.yaml beside it or give --cases FILE"]
        )
    shown = str(source)
    found = load_cases(source, loaded, installed.labels, installed.signals, shown)
    return shown, run_cases(loaded, found, installed.signals)


def _case_row(wanted: str, result: CaseResult) -> dict[str, Any]:
    return {
        "id": f"{wanted}/{result.case.name}",
        "ok": result.passed,
        "expected": result.case.expect.value,
        "action": result.outcome.action.value,
        "queue": result.queue,
        "matches": [match.rule for match in result.outcome.matches],
        "degraded": list(result.outcome.degraded),
        "problems": [result.problem] if result.problem else [],
    }


def _report(rows: Sequence[Mapping[str, Any]], lines: Sequence[str], *, as_json: bool, empty: str) -> None:
    """Print what was found; leave with 1 if anything is not ok, or if there was nothing to look at."""
    if as_json:
        print_json([dict(row) for row in rows])
    else:
        for line in lines or [empty]:
            click.echo(line)
    if not rows or not all(row["ok"] for row in rows):
        raise click.exceptions.Exit(1)
