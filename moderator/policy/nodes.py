"""YAML with line numbers: nodes are composed, never constructed, and every problem is collected."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

import yaml

from moderator.errors import PolicyError

MAX_BYTES: Final = 1_000_000
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")

_KINDS: Final = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
    "seq": "a list",
    "map": "a table",
    "timestamp": "a date",
}


def read_source(source: Path | Traversable | bytes, name: str = "") -> tuple[bytes, str]:
    """The bytes of a policy file and how to call it in messages."""
    if isinstance(source, bytes):
        return source, name or "policy"
    shown = name or (str(source) if isinstance(source, Path) else source.name)
    try:
        return source.read_bytes(), shown
    except OSError as error:
        raise PolicyError([f"{shown}:1: cannot be read: {error.strerror or error}"]) from error


class Document:
    """One YAML file: reads typed values out of nodes and notes ``file:line: message`` for the rest."""

    def __init__(self, data: bytes, name: str) -> None:
        self.name = name
        self.problems: list[str] = []
        self.root = self._compose(data)

    def note(self, line: int, message: str) -> None:
        """Record a problem."""
        self.problems.append(f"{self.name}:{line}: {message}")

    def finish(self) -> None:
        """Raise everything noted so far, in order of line, if there is anything."""
        if self.problems:
            self.problems.sort(key=lambda problem: int(problem[len(self.name) + 1 :].split(":", 1)[0]))
            raise PolicyError(self.problems)

    def table(
        self, node: yaml.Node, what: str, required: Collection[str], optional: Collection[str]
    ) -> dict[str, yaml.Node]:
        """The entries of a mapping with exactly these keys; others, doubles and gaps are noted."""
        if not isinstance(node, yaml.MappingNode):
            self.note(line_of(node), f"{what} must be a table with the keys {', '.join(required)}")
            return {}
        found = self.entries(node, what)
        known = [*required, *optional]
        for key in [key for key in found if key not in known]:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            self.note(line_of(found.pop(key)), f"unknown key {key!r} in {what}; {hint}")
        for key in required:
            if key not in found:
                self.note(line_of(node), f"{what} lacks {key!r}")
        return found

    def entries(self, node: yaml.MappingNode, what: str) -> dict[str, yaml.Node]:
        """The entries of a mapping with any keys; a key given twice is noted, the first one counts."""
        found: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None:
                self.note(line_of(key_node), f"a key of {what} must be plain text")
            elif key in found:
                self.note(line_of(key_node), f"key {key!r} is given twice in {what}")
            else:
                found[key] = value
        return found

    def items(self, node: yaml.Node | None, what: str) -> list[yaml.Node]:
        """The elements of a list."""
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.note(line_of(node), f"{what} must be a list, not {kind_of(node)}")
            return []
        return list(node.value)

    def text(self, node: yaml.Node | None, what: str, default: str = "") -> str:
        """A non-empty string."""
        if node is None:
            return default
        if tag_of(node) != "str":
            shown = f" ({node.value})" if isinstance(node, yaml.ScalarNode) else ""
            self.note(line_of(node), f"{what} must be text, not {kind_of(node)}{shown}; put it in quotes")
            return default
        text = str(node.value).strip()
        if not text:
            self.note(line_of(node), f"{what} is empty")
        return text

    def name_of(self, node: yaml.Node | None, what: str) -> str:
        """A name of rules, queues and policies: no spaces, nothing odd."""
        name = self.text(node, what)
        if node is not None and name and not _NAME.fullmatch(name):
            self.note(
                line_of(node),
                f"{what} {name[:100]!r} may hold only letters, digits, '-', '_' and '.', at most 100",
            )
        return name

    def _compose(self, data: bytes) -> yaml.Node | None:
        if len(data) > MAX_BYTES:
            self.note(1, f"the file has {len(data)} bytes; at most {MAX_BYTES} are read")
            self.finish()
        try:
            text = data.decode("utf-8-sig")
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            self.note(line, f"the file is not UTF-8: byte 0x{data[error.start]:02x}")
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self.note(mark.line + 1 if mark else 1, f"not valid YAML: {error.problem or error.context}")
        except yaml.YAMLError as error:
            self.note(1, f"not valid YAML: {str(error).splitlines()[0]}")
        except RecursionError:
            self.note(1, "not valid YAML: nested too deeply")
        self.finish()
        raise AssertionError("unreachable: finish raises")


def line_of(node: yaml.Node) -> int:
    """The line of the file a node starts on, counted from 1."""
    return int(node.start_mark.line) + 1


def tag_of(node: yaml.Node) -> str:
    """``str``, ``int``, ``seq``… as YAML resolved it."""
    return str(node.tag).rsplit(":", 1)[-1]


def kind_of(node: yaml.Node) -> str:
    """What a node holds, in words."""
    return _KINDS.get(tag_of(node), f"a value tagged {node.tag}")
