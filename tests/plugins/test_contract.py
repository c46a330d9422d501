"""Every plugin that ships keeps the contract it asks of others."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from moderator.host import PluginHost
from moderator.plugin import Plugin
from moderator.settings import Settings
from moderator.testing import check_plugin

_HOST = PluginHost.discover(
    Settings(allow_plugins=("audio", "hashes", "image", "lexicon", "rules", "speech", "text"))
)
_SHIPPED: Mapping[str, Plugin] = _HOST.plugins


@pytest.mark.parametrize("name", sorted(_SHIPPED))
def test_shipped_plugin_keeps_the_contract(name: str) -> None:
    broken = [f"{each.check}: {each.detail}" for each in check_plugin(_SHIPPED[name]) if not each.ok]
    assert broken == []
