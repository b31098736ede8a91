"""Writes the results page, ``README.md`` in this folder, as a whole, and the table of results on the front page.

``python -m helpers.benchmarks.report`` takes what ``make bench``, ``make speed``, ``make ablation`` and ``make failures``
have stored in ``runs/``. A section of which nothing is stored keeps the content that it has; it stands between
``<!-- name:begin -->`` and ``<!-- name:end -->``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from helpers.benchmarks import ablation, failures, latency, loop, table
from helpers.benchmarks.runs import VERSION, markdown_table, with_spread
from helpers.config import ROOT, CourseError, plain_errors, runs_dir
from helpers.utils import whole_file

PAGE = Path("helpers", "benchmarks", "README.md")  # in the repository, as FRONT_PAGE is
FRONT_PAGE = Path("README.md")
MARKS, FRONT_MARKS = ("<!-- {}:begin -->", "<!-- {}:end -->"), ("<!-- {} -->", "<!-- /{} -->")
HEAD = """# Results

What the course claims, measured. `python -m helpers.benchmarks.report` writes this page from what the commands below have
stored. Each table says on what data, with which seeds, on which machine and when it was measured, and stands until its
command has been run again: its date tells how old it is."""
FAILURES_FIGURE = """![Test scenes for which the network predicts worst: masks with missed and wrong pixels, depth maps with their
errors, each with the cause of most of its error.](../../Images/failures.png)"""


class Section(NamedTuple):
    """A heading, what its command does, and what is shown of a stored result."""

    heading: str
    about: str
    stored: Callable[[], dict | None]
    markdown: Callable[[dict], str]


def _comparison(kind: str) -> dict | None:
    return next((result for result in table.stored() if result["data"] == kind), None)


def _read(pattern: str) -> dict | None:
    """The newest result of this version of the course that fits ``pattern`` in ``runs/``."""
    results = [json.loads(path.read_text("utf-8")) for path in runs_dir().glob(pattern)]
    results = [result for result in results if result.get("version") == VERSION]
    return max(results, key=lambda result: result["date"], default=None)


SECTIONS = {
    "rooms": Section(
        "Rendered rooms",
        """`make bench` trains the published recipe, the course's, and the networks between and beside them on the same quartets, equally
often, under three seeds (hours on two cores; `make bench ARGS="--seeds 1 --rows published course"` is the short form). All are
scored beside two predictions without a network: background subtraction, and the mean depth map of the training rooms. In
*perturbed* pairs the camera has moved a little, the exposure has changed, and both images have noise. Runs may share the
machine, so seconds compare within a table only.""",
        lambda: _comparison("rooms"), table.markdown,
    ),
    "photographs": Section(
        "Photographs",
        """`make bench ARGS="--data FOLDER"` measures the same on a folder of photographs. Here: rooms of
[NYU Depth v2](https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html), whose depth a sensor measured, and cats cut out of other
photographs. They are not in this repository (NYU's are for research only). NYU took several photographs of some rooms, and the
folder does not say of which, so a test room may have been seen from another place in training.""",
        lambda: _comparison("photographs"), table.markdown,
    ),
    "latency": Section(
        "Speed of one prediction", "`make speed`, first half: both networks in each runtime of the processor.",
        lambda: _read(f"bench/{latency.RESULT}"), latency.markdown,
    ),
    "loop": Section(
        "Speed of training", "`make speed`, second half: the published training loop beside the course's.",
        lambda: _read(f"bench/{loop.RESULT}"), loop.markdown,
    ),
    "ablation": Section(
        "What each choice is worth",
        """`make ablation` changes one thing of the course at a time and trains each variant under three seeds, shorter and at a smaller
size than `make bench` does. No test scene takes part: it trains and scores on two parts of the training rooms and cats.""",
        lambda: _read("ablation/rooms-*-table.json"), ablation.markdown,
    ),
    "failures": Section(
        "Where it fails",
        "`make failures` finds the worst masks and depth maps of your own run, or of the shipped network. No cause is chosen by\n"
        "hand: each is a rule of [failure_causes.py](failure_causes.py).",
        lambda: _read(f"bench/{failures.RESULT}"), lambda result: f"{FAILURES_FIGURE}\n\n{failures.markdown(result)}",
    ),
}  # fmt: skip


def parts(text: str, name: str, marks: tuple[str, str] = MARKS) -> tuple[str, str, str]:
    """What stands before, in and after the section ``name``; its marks belong to what is before and after.

    Raises:
        CourseError: a mark is missing, or is there twice.
    """
    begin, end = (mark.format(name) for mark in marks)
    before, _, rest = text.partition(begin)
    inside, _, after = rest.partition(end)
    if text.count(begin) != 1 or text.count(end) != 1 or end in before:
        raise CourseError(f"README.md must have {begin} once, and {end} once below it: put them back.")
    return before + begin, inside, end + after


def page(old: str) -> str:
    """The results page, with what is stored, else with what its text ``old`` holds."""
    texts = [HEAD]
    for name, section in SECTIONS.items():
        result, (begin, end) = section.stored(), (mark.format(name) for mark in MARKS)
        content = section.markdown(result) if result else parts(old, name)[1].strip()
        texts += [f"## {section.heading}", section.about, f"{begin}\n{content}\n{end}"]
    return "\n\n".join(texts) + "\n"


FRONT_ROWS = [table.ROWS[name].title for name in (table.PUBLISHED, "published-net", "unet", "siam", table.OURS)]
FRONT_COLUMNS = ("mask_dice", "perturbed_mask_dice", "boundary_f_1px", "depth_rmse")


def front_table(result: dict) -> str | None:
    """The table of results on the front page; None if not all of its rows were measured."""
    scores, facts = result["scores"], result["facts"]
    if set(FRONT_ROWS) - set(scores):
        return None
    simple = {**scores[table.MEAN_DEPTH], **scores[table.SUBTRACTION]}
    lines = []
    for title, row in {"background subtraction; mean depth map": simple, **{row: scores[row] for row in FRONT_ROWS}}.items():
        cost = f"{facts[title]['parameters'][0] / 1e6:.2f} / {facts[title]['gflop'][0]:.1f}" if title in facts else ""
        lines.append([title, *(with_spread(row[key], table.COLUMNS[key].form) for key in FRONT_COLUMNS), cost])
    titles = [table.COLUMNS[key].title for key in FRONT_COLUMNS]
    return markdown_table(["", *titles, "M / GFLOP"], lines, numbers_from=1)


def main(root: Path = ROOT) -> None:
    """Write both pages, as far as results are stored.

    Raises:
        CourseError: the marks of a section are gone; then nothing is written.
    """
    pages = {PAGE: page((root / PAGE).read_text(encoding="utf-8"))}
    result = _comparison("rooms")
    if result and (content := front_table(result)):
        before, _, after = parts((root / FRONT_PAGE).read_text(encoding="utf-8"), "results", FRONT_MARKS)
        pages[FRONT_PAGE] = f"{before}\n{content}\n{after}"
    for path, text in pages.items():
        with whole_file(root / path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(f"wrote {path}")


if __name__ == "__main__":
    with plain_errors():
        main()
