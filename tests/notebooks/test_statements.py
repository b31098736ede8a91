"""What the notebooks say is so: numbers, references, claims about outputs, and the field's words."""

import importlib
import re
from pathlib import Path

import pytest
from house_words import house_words
from notebook_cells import NOTEBOOKS, cells, code, printed, prose

NUMBER = re.compile(r"(?<![\w.,/^])\d+\.\d+(?![\w.]|,\d)|(?<![\w.,/])\d+(?:\.\d+)?(?= %)")  # 0.964, 12.5 %, 35 %
HEADING = re.compile(r"^#{2,3} (?:Exercise )?(\d+\.\d+)\b", re.MULTILINE)
REFERENCE = re.compile(r"\b(?:[Ss]ections?|[Ee]xercises?) (\d+\.\d+)")
CLAIMS = [
    (path.stem[-2:], phrase, holds)
    for path in sorted(Path(__file__).parent.glob("claims_[0-9][0-9].py"))
    for phrase, holds in importlib.import_module(path.stem).CLAIMS
]


def unquoted(text: str) -> str:
    """Prose without code, formulas, the addresses of links, and the rows that helpers.upkeep.front_page writes."""
    text = re.sub(r"^\| (Time|Memory) \|.*$", "", text, flags=re.MULTILINE)
    return re.sub(r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$\n]*\$|\]\([^)]*\)|<[^>]*>", " ", text, flags=re.DOTALL)


@pytest.mark.parametrize("number", NOTEBOOKS)
def test_numbers_in_its_prose_are_printed_or_set_by_its_cells(number):
    known = printed(number) + code(number) + "".join(importlib.import_module(f"claims_{number}").DEFINITIONS)
    loose = re.sub(r"(?<=\d),(?=\d{3})", "", known)
    wrong = [match[0] for match in NUMBER.finditer(unquoted(HEADING.sub("", prose(number)))) if not in_text(match[0], loose)]
    wrong = [one for one in wrong if one not in REFERENCE.findall(prose(number))]
    assert not wrong, "print these in a cell, or say in claims_NN.DEFINITIONS where they come from"


def in_text(value: str, text: str) -> bool:
    return bool(re.search(rf"(?<![\d.]){re.escape(value)}(?!\d)", text))


@pytest.mark.parametrize("number", NOTEBOOKS)
def test_its_sections_are_numbered_and_references_lead_to_one(number):
    sections = HEADING.findall(prose(number))
    plain = [one for one in re.findall(r"^## (\d+\.\d+)", prose(number), re.MULTILINE)]
    assert plain == [f"{int(number)}.{k}" for k in range(1, len(plain) + 1)], "## 3.1, ## 3.2 and so on"
    everywhere = {one for each in NOTEBOOKS for one in HEADING.findall(prose(each))} | set(sections)
    lost = [one for one in REFERENCE.findall(prose(number)) if one not in everywhere]
    assert not lost, "no heading has these numbers"
    for other in re.findall(r"\b[Nn]otebooks? (\d+)", prose(number) + code(number)):
        assert f"{int(other):02}" in NOTEBOOKS, f"there is no notebook {other}"


@pytest.mark.parametrize("number, phrase, holds", CLAIMS, ids=[f"{number}-{phrase[:40]}" for number, phrase, _ in CLAIMS])
def test_a_claim_about_an_output_holds(number, phrase, holds):
    assert phrase in re.sub(r"\s+", " ", prose(number)), "the sentence has changed: change its claim, too"
    assert holds()


@pytest.mark.parametrize("number", NOTEBOOKS)
def test_it_is_written_in_the_words_of_the_field(number):
    comments = "\n".join(re.findall(r"#.*$|\"[^\"]*\"|'[^']*'", code(number), re.MULTILINE))
    text = "\n".join((unquoted(prose(number)), comments, printed(number)))
    assert not house_words(text), "see the glossary in CONTRIBUTING.md"


def test_the_course_says_what_the_field_says():
    text = "\n".join(map(prose, NOTEBOOKS)).lower()
    for word, least in {"prediction": 15, "ground truth": 15, "validation": 15, "overfit": 5, "pretrained": 3, "feature map": 3}.items():
        assert text.count(word) >= least, word


def test_the_first_seven_notebooks_are_no_longer_than_the_first_edition():
    assert sum(len(cells(number)) for number in NOTEBOOKS if number <= "07") <= 528
    assert all(len(cells(number)) <= 45 for number in NOTEBOOKS if number > "07")
