"""Characters of other scripts that pass for Latin letters, written by hand from how they look.

Only ``normalise`` uses them, and only inside words that mix scripts: Russian or Greek words stay.
"""

from __future__ import annotations


def _pairs(*rows: str) -> dict[int, str]:
    """Rows of ``"<look-alikes> <Latin letters>"``, position by position."""
    table: dict[int, str] = {}
    for row in rows:
        strange, plain = row.split()
        table.update(zip(map(ord, strange), plain, strict=True))
    return table


ALWAYS_LATIN = {
    # Small capitals, IPA letters and squared letters spell no language: they are only ever styling.
    **_pairs(
        "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ abcdefghijklmnoprstuvwyz",
        "ɑɡıȷƒʃɩɾ agijfsir",
    ),
    **{0x1F150 + i: chr(65 + i) for i in range(26)},  # negative circled
    **{0x1F170 + i: chr(65 + i) for i in range(26)},  # negative squared
}
"""Mapped wherever they stand (after NFKC)."""

TO_LATIN = _pairs(
    # Cyrillic
    "аеорсухіјѕԁһԛԝѵкмтнвпёїӏɡ aeopcyxijsdhqwvkmthbneilg",
    "АВСЕНІЈКМОРЅТУХԌԚԜѴЁЇӀ ABCEHIJKMOPSTYXGQWVEII",
    # Greek
    "αοενρτικυχγηω aoevptikuxynw",
    "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹ ABEZHIKMNOPTYXC",
    # Armenian
    "օսհոցզյ ouhngqj",
    # Cherokee
    "ᎠᎡᎢᎥᎪᎬᎳᎷᎻᎽᏃᏀᏂᏒᏔᏚᏞᏟᏢᏦᏴ DRTiAEWMHYZGhRWSLCPKB",
    # Lisu
    "ꓮꓐꓚꓓꓰꓝꓖꓧꓲꓙꓗꓡꓟꓠꓳꓑꓣꓢꓔꓴꓦꓪꓫꓬꓜ ABCDEFGHIJKLMNOPRSTUVWXYZ",
)
"""Other scripts → Latin, applied to a word if every foreign letter of it is listed here."""

TO_CYRILLIC = _pairs("aeopcyxkABCEHKMOPTXY аеорсухкАВСЕНКМОРТХУ")
"""Latin → Cyrillic, for a mostly Cyrillic word with a few Latin letters slipped in."""
