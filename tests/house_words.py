"""The words that the course does not use: left of the glossary in CONTRIBUTING.md, as patterns."""

import re

from helpers.config import ROOT

ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
# Where a word alone would find too much or too little.
FORMS = {
    "truth": r"(?<!ground )(?<!ground-)truth",
    "disturbed": r"disturb(?:ed|ances?|s)?",
    "spoilt": r"spoil(?:t|s|ed)?",
    "boundary F": r"boundary F(?!-score)",
    "read-out": r"read-?outs?",
    "pupil": r"pupils?",
    "carpet": r"carpets?",
    "curtain": r"curtains?",
    "stencil": r"stencils?",
    "stand-in": r"stand-ins?",
    "judge": r"judges?",
    "contract": r"contracts?",
    "picture of coordinates": r"pictures? of coordinates",
    "speaks": r"speaks?",
}


def glossary() -> dict[str, str]:
    """What the field writes, by the word that the course does not use; several stand in one row."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    _, _, after = text.partition("## Glossary")
    rows = ROW.findall(after.partition("\n## ")[0])[1:]  # the first is the head
    return {word.strip(" `"): better for words, better in rows for word in words.split(",")}


HOUSE_WORDS = [FORMS.get(word, re.escape(word)) for word in glossary()]


def house_words(text: str) -> list[str]:
    """Those that a text uses, as it writes them."""
    return [match[0] for word in HOUSE_WORDS for match in re.finditer(rf"(?i)\b{word}\b", text)]
