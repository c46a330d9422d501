"""``moderator plugins``: what is installed, what failed and why, and whether it keeps its contract."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

import click

from moderator.cli.output import json_option, print_json, print_rows
from moderator.conformance import check_plugin
from moderator.host import PluginHost
from moderator.plugin import Plugin
from moderator.settings import load_settings


@click.group()
def plugins() -> None:
    """List installed plugins and check their contracts."""


@plugins.command("list", short_help="List what is usable, what failed and what is blocked.")
@json_option
def list_(as_json: bool) -> None:
    """List every embedder, detector, extractor and policy, and what failed or is blocked, with the reason."""
    host = PluginHost.discover(load_settings())
    rows = list(_rows(host))
    print_rows(
        rows,
        ("id", "kind", "modality", "status", "origin"),
        as_json=as_json,
        empty="no plugin is installed",
    )
    if not as_json:  # reasons are too long for a column
        for row in rows:
            if row["detail"]:
                click.echo(f"\n{row['id']} is {row['status']}: {row['detail']}")


def _rows(host: PluginHost) -> Iterator[dict[str, Any]]:
    for kind, found in _kinds(host):
        for name, plugin in found.items():
            yield _row(name, kind, "ok", host.origins[name], modality=plugin.modality.value)
    for name in host.policies:
        yield _row(name, "policy", "ok", host.origins[name])
    for failure in host.failures:
        origin = host.distributions.get(failure.plugin, "")
        yield _row(failure.plugin, "plugin", "failed", origin, detail=f"{failure.stage}: {failure.error}")
    for name, reason in host.blocked.items():
        yield _row(name, "plugin", "blocked", "", detail=reason)


def _kinds(host: PluginHost) -> Sequence[tuple[str, Mapping[str, Plugin]]]:
    return ("embedder", host.embedders), ("detector", host.detectors), ("extractor", host.extractors)


def _row(
    name: str, kind: str, status: str, origin: str, *, modality: str = "", detail: str = ""
) -> dict[str, Any]:
    return {
        "id": name,
        "kind": kind,
        "modality": modality,
        "status": status,
        "origin": origin,
        "detail": detail,
    }


@plugins.command(short_help="Run the contract suite of plugins.")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--device", default="cpu", show_default=True, help="Device to load the plugins on.")
@json_option
def check(names: tuple[str, ...], device: str, as_json: bool) -> None:
    """Load plugins and run the contract suite on their own examples; exit with 1 if any clause is broken.

    NAME is an embedder, a detector, an extractor, or an entry point (everything it provides). Without NAME,
    all are checked, and a plugin that could not be imported or constructed counts as broken.
    """
    host = PluginHost.discover(load_settings())
    chosen = _chosen(host, names)
    reports = [_failed(host, name) for name in _failed_names(host, names)]
    for report in reports:
        _print(report, as_json)
    for name, plugin in chosen.items():
        reports.append(_checked(name, plugin, host, device))
        _print(reports[-1], as_json)
    if as_json:
        print_json(reports)
    if not all(report["ok"] for report in reports):
        raise click.exceptions.Exit(1)


def _chosen(host: PluginHost, names: tuple[str, ...]) -> dict[str, Plugin]:
    usable = host.plugins
    if not names:
        return dict(usable)
    failed = {failure.plugin for failure in host.failures}
    for name in names:
        if name not in usable and name not in host.registered and name not in failed:
            raise click.UsageError(
                f"no embedder, detector, extractor or entry point {name!r}; there are "
                f"{', '.join(sorted({*usable, *host.registered})) or 'none'}"
            )
    return {
        name: plugin
        for name, plugin in usable.items()
        if name in names or host.origins[name].partition(" ")[0] in names
    }


def _failed_names(host: PluginHost, names: tuple[str, ...]) -> list[str]:
    failed = dict.fromkeys(failure.plugin for failure in host.failures)
    return [name for name in failed if not names or name in names]


def _failed(host: PluginHost, name: str) -> dict[str, Any]:
    checks = [
        {"check": failure.stage, "ok": False, "detail": failure.error}
        for failure in host.failures
        if failure.plugin == name
    ]
    return {"id": name, "kind": "plugin", "ok": False, "fingerprint": "", "checks": checks}


def _checked(name: str, plugin: Plugin, host: PluginHost, device: str) -> dict[str, Any]:
    with redirect_stdout(sys.stderr):  # a plugin may print, and --json must stay JSON
        results = check_plugin(plugin, device)
    loaded = any(result.check == "has a fingerprint" and result.ok for result in results)
    return {
        "id": name,
        "kind": next(kind for kind, found in _kinds(host) if name in found),
        "ok": all(result.ok for result in results),
        "fingerprint": plugin.fingerprint if loaded else "",
        "checks": [{"check": each.check, "ok": each.ok, "detail": each.detail} for each in results],
    }


def _print(report: dict[str, Any], as_json: bool) -> None:
    """One plugin at a time: loading may take long, and what is known should be seen."""
    if as_json:
        return
    checks = report["checks"]
    held = sum(check["ok"] for check in checks)
    click.echo(f"{'ok    ' if report['ok'] else 'BROKEN'}  {report['id']}  {held} of {len(checks)} checks")
    for each in checks:
        if not each["ok"]:
            click.echo(f"          {each['check']}: {each['detail']}")
