"""Finding a policy by its name among those plugins bring, by the path of a file, or by its digest."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

import yaml

from moderator.errors import PolicyError

_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    """Where a policy lies. ``cases``: its test cases, ``cases/<name>.yaml`` beside it, if there are any.

    ``shown``: how messages call the file.
    """

    name: str
    source: Path | Traversable
    cases: Path | Traversable | None
    shown: str


def find_policy(wanted: str, policies: Mapping[str, Traversable], failed: Sequence[str] = ()) -> PolicyFiles:
    """The files of the policy ``wanted``: a name in ``policies``, or the path of a YAML file.

    Raises ``PolicyError`` naming what there is if it is neither, and the plugins that ``failed``.
    """
    if wanted in policies:
        return _files(wanted, policies[wanted])
    path = Path(wanted)
    try:
        is_file = path.is_file()
    except (OSError, ValueError):  # a name no file system takes
        is_file = False
    if is_file:
        return _files(path.stem, path)
    if path.suffix in _SUFFIXES or "/" in wanted:
        raise PolicyError([f"{wanted}: there is no such file"])
    close = difflib.get_close_matches(wanted, sorted(policies), n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(policies)) or 'none'}"
    if failed:
        hint += f"; plugins failed, see moderator plugins list: {', '.join(failed)}"
    raise PolicyError([f"policy {wanted!r}: there is no policy of that name and no such file; {hint}"])


def rules_of_digest(digest: str, sources: Iterable[Path | Traversable]) -> tuple[str, ...] | None:
    """The names of the rules of the policy with this digest, if it is among ``sources``; else ``None``.

    A digest on a verdict is that of a file that was checked then, so it is not checked again.
    """
    for source in sources:
        try:
            data = source.read_bytes()
        except OSError:
            continue
        if hashlib.sha256(data).hexdigest() == digest:
            return tuple(str(rule["name"]) for rule in yaml.safe_load(data)["rules"])
    return None


def _files(name: str, source: Path | Traversable) -> PolicyFiles:
    # Traversable has no parent, but folders and zip files, all that packages come in, do.
    folder: Path | Traversable | None = getattr(source, "parent", None)
    cases = folder.joinpath("cases", f"{name}.yaml") if folder is not None else None
    if cases is not None and not cases.is_file():
        cases = None
    return PolicyFiles(name, source, cases, str(source))
