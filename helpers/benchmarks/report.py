"""Puts stored results into the results page, ``README.md`` in this folder, and into the table of the front page.

``python -m helpers.benchmarks.report`` takes what ``make bench``, ``make speed``, ``make ablation``, ``make failures``,
``python -m helpers.benchmarks.handheld``, ``... bad_pairs`` and ``... transfer`` have left in ``runs/``. Each section of the page stands
between ``<!-- name:begin -->`` and ``<!-- name:end -->``; one of which nothing is stored keeps what it has.
"""

from pathlib import Path

from helpers.benchmarks import ablation, bad_pairs, failures, handheld, latency, loop, table, transfer
from helpers.benchmarks.summary import markdown_table, stored, with_spread
from helpers.config import ROOT, CourseError, plain_errors
from helpers.utils import whole_file

PAGE, FRONT_PAGE = Path("helpers", "benchmarks", "README.md"), Path("README.md")  # in the repository
SECTIONS = {  # the files in runs/ (of several, the newest counts), and what writes their content down
    "rooms": ("bench/rooms-*-table.json", table.markdown),
    "photographs": ("bench/photos-*-table.json", table.markdown),
    "bad_pairs": (bad_pairs.RESULT, bad_pairs.markdown),
    "handheld": (handheld.RESULT, handheld.markdown),
    "transfer": ("transfer/transfer.json", transfer.markdown),
    "latency": (latency.RESULT, latency.markdown),
    "loop": (loop.RESULT, loop.markdown),
    "ablation": ("ablation/rooms-*-table.json", ablation.markdown),
    "failures": (failures.RESULT, failures.markdown),
}
FRONT_ROWS = [table.ROWS[name].title for name in (table.PUBLISHED, "published-net", "unet", "siam", table.OURS)]
FRONT_COLUMNS = ("mask_dice", "perturbed_mask_dice", "boundary_f_1px", "depth_rmse")


def parts(text: str, name: str) -> tuple[str, str, str]:
    """What stands before, in and after the section ``name``; its marks belong to what is before and after."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, _, rest = text.partition(begin)
    inside, _, after = rest.partition(end)
    if text.count(begin) != 1 or text.count(end) != 1 or end in before:
        raise CourseError(f"README.md must have {begin} once, and {end} once below it: put them back.")
    return before + begin, inside, end + after


def newest(pattern: str) -> dict | None:
    """The newest result that fits ``pattern`` in ``runs/``; None if there is none."""
    return max(stored(pattern), key=lambda result: result["date"], default=None)


def page(text: str) -> str:
    """The results page with what is stored in place of what its ``text`` holds."""
    for name, (pattern, markdown) in SECTIONS.items():
        before, _, after = parts(text, name)
        if result := newest(pattern):
            text = f"{before}\n{markdown(result)}\n{after}"
    return text


def front_page(text: str) -> str:
    """The front page with the table of results on rendered rooms, if all of its rows have been measured."""
    result = newest(SECTIONS["rooms"][0])
    if not result or set(FRONT_ROWS) - set(result["scores"]):
        return text
    before, _, after = parts(text, "results")
    scores, facts, lines = result["scores"], result["facts"], []
    both = f"{table.SUBTRACTION}; {table.MEAN_DEPTH}"
    scores = scores | {both: {**scores[table.MEAN_DEPTH], **scores[table.SUBTRACTION]}}
    for title in (both, *FRONT_ROWS):
        cost = f"{facts[title]['parameters'][0] / 1e6:.2f} / {facts[title]['gflop'][0]:.1f}" if title in facts else ""
        cells = [with_spread(scores[title][key], table.COLUMNS[key].form) for key in FRONT_COLUMNS]
        lines.append([title, *cells, cost])
    header = ["", *(table.COLUMNS[key].title for key in FRONT_COLUMNS), "M / GFLOP"]
    return f"{before}\n{markdown_table(header, lines, numbers_from=1)}\n{after}"


def main(root: Path = ROOT) -> None:
    """Write what is stored into both pages; if nothing is, or the marks of a section are gone, write nothing."""
    if not any(newest(pattern) for pattern, _ in SECTIONS.values()):
        raise CourseError("No results are stored in runs/: run `make bench`, `make speed` or `make ablation` first.")
    makers = {PAGE: page, FRONT_PAGE: front_page}
    written = {path: make((root / path).read_text(encoding="utf-8")) for path, make in makers.items()}
    for path, text in written.items():
        with whole_file(root / path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(f"wrote {path}")


if __name__ == "__main__":
    with plain_errors():
        main()
