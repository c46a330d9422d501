"""Signed notes and checkpoints: as the specification has them, and nothing that was touched."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.audit.checkpoint import Checkpoint
from moderator.audit.notes import PublicKey, SecretKey, open_note
from moderator.errors import AuditError
from moderator.store.merkle import EMPTY_ROOT

# the example of Go's golang.org/x/mod/sumdb/note, where the format comes from
SECRET = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"  # noqa: S105
PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
NOTE = (
    f"{TEXT}\n— PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
KEY = PublicKey.parse(PUBLIC)


def test_the_published_example() -> None:
    secret = SecretKey.parse(SECRET)
    assert (str(secret.public), secret.reveal()) == (PUBLIC, SECRET)
    assert secret.sign(TEXT) == NOTE
    assert open_note(NOTE, [KEY]) == TEXT
    assert "AYEK" not in repr(secret)


def test_every_byte_of_a_note_counts() -> None:
    raw = NOTE.encode()
    for at in range(len(raw)):
        for flip in (1, 2, 32):
            other = raw[:at] + bytes([raw[at] ^ flip]) + raw[at + 1 :]
            try:
                text = other.decode()
            except UnicodeDecodeError:
                continue
            with pytest.raises(AuditError):
                open_note(text, [KEY])


def test_what_is_added_or_missing_counts() -> None:
    for other in (
        "",
        "\n",
        NOTE[:-1],
        NOTE[1:],
        NOTE + "\n",
        NOTE + "x",
        "x" + NOTE,
        NOTE.replace("\n\n", "\n"),
        TEXT,
    ):
        with pytest.raises(AuditError):
            open_note(other, [KEY])


def test_signatures_of_others_are_passed_over() -> None:
    witness = SecretKey.generate("witness.example")
    both = NOTE + witness.sign(TEXT).rpartition("\n\n")[2]
    assert open_note(both, [KEY]) == open_note(both, [witness.public]) == TEXT
    stranger = SecretKey.generate("PeterNeumann").public
    with pytest.raises(AuditError, match="signed by none of the keys given"):
        open_note(both, [stranger])


def test_a_wrong_signature_beside_a_right_one_is_refused() -> None:
    witness = SecretKey.generate("witness.example")
    other = witness.sign("another text\n").rpartition("\n\n")[2]
    with pytest.raises(AuditError, match=r"'witness\.example' is not right"):
        open_note(NOTE + other, [KEY, witness.public])


@pytest.mark.parametrize("name", ["", "a b", "a+b", " a", "a\n", "a\x00b"])
def test_names_that_no_note_can_hold(name: str) -> None:
    with pytest.raises(AuditError, match="cannot be a key's name"):
        SecretKey.generate(name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not an Ed25519 key"),
        (PUBLIC[:-4], "not an Ed25519 key"),
        (PUBLIC.replace("+ARpc", "+BRpc"), "not an Ed25519 key"),
        (PUBLIC.replace("c74f", "c74e"), "copied wrongly"),
        (PUBLIC.replace("Peter", "Meter"), "copied wrongly"),
    ],
)
def test_public_keys_that_are_none(text: str, said: str) -> None:
    with pytest.raises(AuditError, match=said):
        PublicKey.parse(text)


@pytest.mark.parametrize(
    ("text", "said"), [(PUBLIC, "not a private key"), (SECRET.replace("c74f", "c74e"), "copied wrongly")]
)
def test_private_keys_that_are_none(text: str, said: str) -> None:
    with pytest.raises(AuditError, match=said) as raised:
        SecretKey.parse(text)
    assert "AYEK" not in str(raised.value)


@given(st.integers(0, 2**60), st.binary(min_size=32, max_size=32))
def test_checkpoints_come_back(size: int, root: bytes) -> None:
    checkpoint = Checkpoint("example.com/log", size, root)
    assert Checkpoint.parse(str(checkpoint)) == checkpoint
    assert Checkpoint.parse(f"{checkpoint}an extension\n") == checkpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "log\n",
        "log\n1\n",
        "log\n1\nAAAA\n",
        "\n1\nROOT\n",
        "log\n01\nROOT\n",
        "log\n-1\nROOT\n",
        "log\n+1\nROOT\n",
        "log\n1 \nROOT\n",
        "log\n١\nROOT\n",
        "log\n1\nROOT",
        "log\n99999999999999999999\nROOT\n",
        "log\n1\nROOT=\n",
        "log\n1\n ROOT\n",
    ],
)
def test_texts_that_are_no_checkpoint(text: str) -> None:
    root = base64.b64encode(EMPTY_ROOT).decode()
    assert Checkpoint.parse(f"log\n1\n{root}\n").size == 1
    with pytest.raises(AuditError, match="not a checkpoint"):
        Checkpoint.parse(text.replace("ROOT", root))
