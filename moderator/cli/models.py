"""``moderator models``: which weights each model would use, where they were found, or how to get them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from moderator.cli.export import export
from moderator.cli.output import json_option, print_rows
from moderator.errors import ModeratorError
from moderator.host import PluginHost
from moderator.pipeline.models import CHECKPOINT, model_path, with_model_weights
from moderator.plugin import Plugin
from moderator.settings import load_settings
from moderator.weights import Weights, local_only, sha256_of


@click.group()
def models() -> None:
    """List the models and weights found, write a smaller model."""


models.add_command(export)


@models.command("list", short_help="List checkpoint and weights: file, digest, what is missing.")
@click.option("--model", metavar="DIR", help="Model directory [default: the shipped model].")
@json_option
def list_(model: str | None, as_json: bool) -> None:
    """List the fusion checkpoint and the weights of each plugin: file, digest, or what is missing."""
    settings = load_settings(model=model)
    directory = model_path(settings.model)
    host = PluginHost.discover(settings)
    settings = with_model_weights(settings, directory, list(host.embedders))
    host = PluginHost.discover(settings)  # now with the weights the model comes with
    rows = [_checkpoint(directory)]
    for name, embedder in host.embedders.items():
        rows += list(_plugin_rows(name, "embedder", embedder))
    for kind, found in (("detector", host.detectors), ("extractor", host.extractors)):
        for name, plugin in found.items():
            rows += [row for row in _plugin_rows(name, kind, plugin) if row["status"] != "no weights"]
    print_rows(
        rows,
        ("id", "kind", "status", "origin", "digest"),
        as_json=as_json,
        empty="no model is installed",
    )
    if not as_json:  # paths and reasons are too long for a column
        for row in rows:
            if row["path"] or row["detail"]:
                said = row["path"] or row["detail"].removeprefix(f"{row['id']}: ")
                click.echo(f"\n{row['id']}: {said}")


def _checkpoint(directory: Path) -> dict[str, Any]:
    path = directory / CHECKPOINT
    origin = "package" if directory == model_path("default") else "path"
    if path.is_file():
        return _row("fusion", "fusion", "found", Weights(path, sha256_of(path), origin))
    return _row(
        "fusion",
        "fusion",
        "missing",
        detail=f"no checkpoint at {path}; train one with: moderator train CONFIG --data DATA --out MODEL",
    )


def _plugin_rows(name: str, kind: str, plugin: Plugin) -> Iterator[dict[str, Any]]:
    try:
        with local_only():
            found = list(plugin.weights())
    except ModeratorError as error:
        yield _row(name, kind, "missing", detail=str(error))
    except Exception as error:  # noqa: BLE001 - a plugin's own code; the listing goes on with the reason
        yield _row(name, kind, "failed", detail=f"{type(error).__name__}: {error}")
    else:
        files = [weights.path.name for weights in found]
        for weights in found:
            file = weights.path.name if files.count(weights.path.name) == 1 else str(weights.path)
            shown = name if len(found) == 1 else f"{name}/{file}"
            yield _row(shown, kind, "found", _as_shipped(weights))
        if not found:
            yield _row(name, kind, "no weights")


def _as_shipped(weights: Weights) -> Weights:
    """What the model handed to a plugin as a path came with the package, if the model did."""
    shipped = weights.path.resolve().parent == model_path("default").resolve()
    return replace(weights, origin="package") if shipped else weights


def _row(
    name: str, kind: str, status: str, weights: Weights | None = None, detail: str = ""
) -> dict[str, Any]:
    return {
        "id": name,
        "kind": kind,
        "status": status,
        "origin": weights.origin if weights else "",
        "digest": weights.sha256[:12] if weights else "",
        "sha256": weights.sha256 if weights else "",
        "path": str(weights.path) if weights else "",
        "detail": detail,
    }
