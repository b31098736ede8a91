"""Writes what was measured into the course: minutes and memory into the README's table and above each notebook, and
minutes into ``minutes.json``, from which a notebook's first code cell reads how long it will take.

``python -m helpers.upkeep.front_page`` wants a run of every notebook on rendered rooms without a GPU, as ``make
notebooks`` leaves it in ``runs/course/measured.json``.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import nbformat

from helpers.benchmarks.report import parts
from helpers.config import ROOT, CourseError, plain_errors
from helpers.session import MINUTES
from helpers.upkeep import timings
from helpers.upkeep.run_notebooks import find
from helpers.utils import whole_file, write_json

PROFILE = "quick"  # what is used without a GPU when nothing is set
ROW = re.compile(r"^(\| \d+ \| \[(\w+)\]\([^)]+\) \|[^|]*\|)[^|]*(\|.*)$", re.MULTILINE)


def duration(minutes: float) -> str:
    """``40 s``, ``2.5 min`` or ``12 min``: as exact as a reader can use."""
    if minutes < 1:
        return f"{max(1, round(60 * minutes))} s"
    return f"{minutes:.1f} min" if minutes < 9.95 else f"{minutes:.0f} min"


def newest(runs: list[dict]) -> dict | None:
    """The newest of a notebook's runs on rendered rooms in :data:`PROFILE` without a GPU; None if there is none."""
    plain = [run for run in runs if re.match(r"\d+ CPU", run["device"])]  # a GPU would stand before the cores
    wanted = [run for run in plain if (run["profile"], run["data"]) == (PROFILE, "rooms")]
    return max(wanted, key=lambda run: run["date"], default=None)


def _how(run: dict) -> str:
    start = "" if run["from_nothing"] else ", with sets that an earlier run had made"
    return f"profile `{run['profile']}`, measured {run['date']}{start}"


def with_rows(source: str, run: dict) -> str:
    """The text of a notebook's first cell with the rows *Time* and *Memory* of its table filled."""
    time = f"{duration(run['minutes'])} on {run['device']} ({_how(run)}); on a T4: not measured yet"
    memory = f"at most {run['gigabytes']:.1f} GB, and {run['disk']:.1f} GB of disk for rendered sets (the same run)"
    for name, text in {"Time": time, "Memory": memory}.items():
        source, count = re.subn(rf"^\| {name} \|.*\|$", lambda _: f"| {name} | {text} |", source, flags=re.MULTILINE)
        if count != 1:
            raise CourseError(f"{source.splitlines()[0]}: it has {count} rows '| {name} | ... |' and must have one.")
    return source


def with_times(readme: str, runs: Mapping[str, dict]) -> str:
    """The README's text with the last column but one of its table of notebooks filled, and what it means below."""
    before, table, after = parts(readme, "notebooks")
    table, _, _ = table.strip().partition("\n\n")  # without the line of the last time

    def filled(match: re.Match) -> str:
        run = runs[match[2]]
        return f"{match[1]} {duration(run['minutes'])}, {run['gigabytes']:.1f} GB {match[3]}"

    oldest = min(runs.values(), key=lambda run: run["date"])
    caption = f"Time and peak memory: on {oldest['device']}, {_how(oldest)}. Nobody has timed it on Colab's T4 yet."
    return f"{before}\n{ROW.sub(filled, table)}\n\n*{caption}*\n{after}"


def main(root: Path = ROOT) -> None:
    """Write the times into ``root``'s README, ``minutes.json`` and notebooks; if a run is missing, nothing."""
    log, notebooks = timings.read(), {path: nbformat.read(path, as_version=4) for path in find([], root / "notebooks")}
    runs = {path.stem: newest(log.get(path.stem, [])) for path in notebooks}
    if missing := [name for name, run in runs.items() if not run]:
        raise CourseError(
            f"No run of {missing[0]} on rendered rooms without a GPU, in profile {PROFILE}, is in "
            f"{timings.log_file().parent.name}/{timings.log_file().name}: run 'make notebooks' first."
        )
    times = {
        name: f"{duration(run['minutes'])} on {run['device']}, measured {run['date']}" for name, run in runs.items()
    }
    readme = with_times((root / "README.md").read_text(encoding="utf-8"), runs)
    for path, notebook in notebooks.items():
        notebook.cells[0].source = with_rows(notebook.cells[0].source, runs[path.stem])
        printed = [out for cell in notebook.cells if "setup(" in cell.source for out in cell.get("outputs", [])]
        for output in (output for output in printed if "text" in output):  # printed before this run was measured
            now = rf"\g<1>{times[path.stem]}"
            output.text = re.sub(r"^(Time +).*$", now, output.text, flags=re.MULTILINE)
    for path, notebook in notebooks.items():
        with whole_file(path) as temporary:
            nbformat.write(notebook, temporary)
    write_json(root / "helpers" / MINUTES.name, {name: {PROFILE: words} for name, words in times.items()})
    with whole_file(root / "README.md") as temporary:
        temporary.write_text(readme, encoding="utf-8")
    print(f"wrote the times of {len(notebooks)} notebooks into README.md and notebooks/")


if __name__ == "__main__":
    with plain_errors():
        main()
