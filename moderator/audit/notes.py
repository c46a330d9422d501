"""Signed notes (C2SP signed-note): a text, and lines below it by which Ed25519 keys vouch for it.

example.com/log
12
nPaBzOBy…=

— example.com/log x08go/ZJkuBS9UG/SffcvIAQ…=
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from moderator.errors import AuditError

_ED25519 = b"\x01"
_SECRET = "PRIVATE+KEY+"  # noqa: S105
_KEY_BYTES = 32
_SIGNATURE = re.compile(r"— (\S+) (\S+)")
_CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A name and a key that can check its signatures. As text: ``name+hash+key``."""

    name: str
    key: bytes

    @property
    def id(self) -> bytes:
        """4 bytes that tell keys of one name apart."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.key).digest()[:4]

    @classmethod
    def parse(cls, text: str) -> Self:
        """A key from its text. ``AuditError`` if it is none."""
        name, key = _parsed(text)
        public = cls(name, key)
        if text.split("+")[1] != public.id.hex():
            raise AuditError(f"the key of {name!r} does not fit its own hash: it was copied wrongly")
        return public

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_base64(_ED25519 + self.key)}"

    def signed(self, text: str, signature: bytes) -> bool:
        """Whether this key made the signature."""
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A name and a key that can sign. As text: ``PRIVATE+KEY+name+hash+seed``; shown nowhere else."""

    name: str
    seed: bytes = field(repr=False)

    @classmethod
    def generate(cls, name: str) -> Self:
        """A new key. The name is for people and machines to know the log by: no spaces, no plus sign."""
        if not name or "+" in name or name.split() != [name] or _CONTROLS.search(name):
            raise AuditError(f"{name!r} cannot be a key's name: it must not be empty or have spaces or +")
        return cls(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> Self:
        """A key from its text. ``AuditError`` if it is none; its text is not repeated."""
        if not is_secret(text):
            raise AuditError("not a private key: it should begin with PRIVATE+KEY+")
        rest = text[len(_SECRET) :]
        name, seed = _parsed(rest)
        key = cls(name, seed)
        if rest.split("+")[1] != key.public.id.hex():
            raise AuditError(f"the key of {name!r} does not fit its own hash: it was copied wrongly")
        return key

    @property
    def public(self) -> PublicKey:
        """The key that checks what this one signs."""
        return PublicKey(self.name, self._key.public_key().public_bytes_raw())

    def reveal(self) -> str:
        """The secret itself, to be kept where nobody else reads."""
        return f"{_SECRET}{self.name}+{self.public.id.hex()}+{_base64(_ED25519 + self.seed)}"

    def sign(self, text: str) -> str:
        """The note: ``text``, which must end with a line break, and this key's signature."""
        if not text.endswith("\n") or _CONTROLS.search(text):
            raise AuditError("a note is lines of text, the last one ended, without control characters")
        signature = self._key.sign(text.encode())
        return f"{text}\n— {self.name} {_base64(self.public.id + signature)}\n"

    @property
    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)


def is_secret(text: str) -> bool:
    """Whether this is the text of a private key."""
    return text.startswith(_SECRET)


def open_note(note: str, keys: Sequence[PublicKey]) -> str:
    """The text of a note that one of ``keys`` has signed. ``AuditError`` if none has, or one wrongly.

    Signatures of keys not known here are passed over, as the specification asks.
    """
    text, blank, lines = note.rpartition("\n\n")
    text += "\n"
    if not blank or not lines.endswith("\n") or _CONTROLS.search(note):
        raise AuditError("not a signed note: it needs a text, an empty line and signatures")
    known = {(key.name, key.id): key for key in keys}
    vouched = False
    for line in lines[:-1].split("\n"):
        found = _SIGNATURE.fullmatch(line)
        raw = unbase64(found[2]) if found else b""
        if found is None or len(raw) < 5:
            raise AuditError(f"not a signature line: {line!r}")
        key = known.get((found[1], raw[:4]))
        if key is None:
            continue
        if not key.signed(text, raw[4:]):
            raise AuditError(f"the signature of {key.name!r} is not right: the note was changed")
        vouched = True
    if not vouched:
        names = ", ".join(repr(str(key)) for key in keys)
        raise AuditError(f"the note is signed by none of the keys given ({names})")
    return text


def _parsed(text: str) -> tuple[str, bytes]:
    name, _, rest = text.partition("+")
    key = unbase64(rest.partition("+")[2])
    if not name or len(key) != 1 + _KEY_BYTES or key[:1] != _ED25519:
        raise AuditError("not an Ed25519 key of a signed note: it should read name+hash+key")
    return name, key[1:]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def unbase64(text: str) -> bytes:
    """What base64 ``text`` stands for; nothing if it is no base64, or not the only way to write it."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return data if _base64(data) == text else b""
