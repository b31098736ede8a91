"""The library's docstrings and all text in it, against the glossary in CONTRIBUTING.md."""

import ast
from pathlib import Path

import pytest
from house_words import FORMS, glossary, house_words

from helpers.config import ROOT

PATHS = [path.relative_to(ROOT / "helpers").as_posix() for path in sorted((ROOT / "helpers").rglob("*.py"))]
# What is meant is what the word says.
EXCEPTIONS = {
    ("rendering/cats.py", "pupils"): "of a cat's eyes",
}


def texts(path: Path) -> str:
    """Docstrings and all other strings of a module, those in f-strings among them."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return "\n".join(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


@pytest.mark.parametrize("module", PATHS)
def test_its_text_is_in_the_words_of_the_field(module):
    found = [word for word in house_words(texts(ROOT / "helpers" / module)) if (module, word.lower()) not in EXCEPTIONS]
    assert not found, "see the glossary in CONTRIBUTING.md"


@pytest.mark.parametrize("page", ["README.md", "notebooks/README.md", "helpers/README.md", "CONTRIBUTING.md"])
def test_a_page_is_in_the_words_of_the_field(page):
    text, _, _ = (ROOT / page).read_text(encoding="utf-8").partition("## Glossary")
    assert not house_words(text), "see the glossary in CONTRIBUTING.md"


def test_every_exception_is_needed():
    for module, word in EXCEPTIONS:
        assert word in map(str.lower, house_words(texts(ROOT / "helpers" / module)))


def test_the_glossary_finds_its_own_words_and_not_those_beside_them():
    assert len(glossary()) >= 25 and not FORMS.keys() - glossary().keys()
    for word, better in glossary().items():
        assert house_words(f"a {word} b"), word
        assert not house_words(better), better


def test_words_are_found_in_all_strings(tmp_path):
    path = tmp_path / "module.py"
    path.write_text('''"""Known by heart."""\nprint(f"{3} pupils", ["a Contract"])  # power cut\ntruth = 1\n''')
    assert sorted(house_words(texts(path))) == ["Contract", "by heart", "pupils"]
