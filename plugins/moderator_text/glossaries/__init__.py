"""Glossaries, one word a line: the word, a tab, its gloss in English, ``-`` for none."""
