"""Writes what was measured into the course: minutes and memory into the README's table and above each notebook, and minutes
into ``minutes.json``, from which a notebook's first code cell reads how long it will take.

``python -m helpers.upkeep.front_page`` wants a run of every notebook on rendered rooms without a GPU, as ``make notebooks``
leaves it in ``runs/course/measured.json``, and takes those with a GPU where there are some.
"""

from __future__ import annotations

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

CPU, GPU = "CPU cores", "T4"  # how the name of a device ends
PROFILES = {CPU: "quick", GPU: "standard"}  # what each of the two takes when nothing is set
ROW = re.compile(r"^(\| \d+ \| \[(\w+)\]\([^)]+\) \|[^|]*\|)[^|]*(\|.*)$", re.MULTILINE)
Log = Mapping[str, list[dict]]  # the entries of helpers.upkeep.timings by notebook


def duration(minutes: float) -> str:
    """``40 s``, ``2.5 min`` or ``12 min``: as exact as a reader can use."""
    if minutes < 1:
        return f"{max(1, round(60 * minutes))} s"
    return f"{minutes:.1f} min" if minutes < 9.95 else f"{minutes:.0f} min"


def entry(log: Log, notebook: str, device: str) -> dict | None:
    """The newest run of ``notebook`` on rendered rooms on such a device, in the profile that is used there."""
    runs = [run for run in log.get(notebook, []) if run["device"].endswith(device)]
    runs = [run for run in runs if (run["profile"], run["data"]) == (PROFILES[device], "rooms")]
    return max(runs, key=lambda run: run["date"], default=None)


def _how(run: dict) -> str:
    start = "" if run["from_nothing"] else ", with sets that an earlier run had made"
    return f"profile `{run['profile']}`, measured {run['date']}{start}"


def with_rows(source: str, log: Log, notebook: str) -> str:
    """The text of a notebook's first cell with the rows *Time* and *Memory* of its table filled.

    Raises:
        CourseError: it has no such row, or several.
    """
    cpu, gpu = (entry(log, notebook, device) for device in (CPU, GPU))
    other = f"on a {GPU}: not measured yet"
    if gpu:
        other = f"{duration(gpu['minutes'])} on a {gpu['device']} ({_how(gpu)})"
    time = f"{duration(cpu['minutes'])} on {cpu['device']} ({_how(cpu)}); {other}"
    for name, text in {"Time": time, "Memory": f"at most {cpu['gigabytes']:.1f} GB (the same run)"}.items():
        source, count = re.subn(rf"^\| {name} \|.*\|$", lambda _: f"| {name} | {text} |", source, flags=re.MULTILINE)
        if count != 1:
            raise CourseError(f"{notebook}: the first cell must have one row '| {name} | ... |', and it has {count}.")
    return source


def times(log: Log, notebook: str) -> dict[str, str]:
    """How long a notebook takes, in words, for each profile that was measured."""
    runs = filter(None, (entry(log, notebook, device) for device in (CPU, GPU)))
    return {run["profile"]: f"{duration(run['minutes'])} on {run['device']}, measured {run['date']}" for run in runs}


def with_times(readme: str, log: Log) -> str:
    """The README's text with the last column but one of its table of notebooks filled, and what it means below.

    Raises:
        CourseError: the marks around it are gone.
    """
    before, table, after = parts(readme, "notebooks")
    table, _, _ = table.strip().partition("\n\n")  # without the line of the last time
    names = [name for _, name, _ in ROW.findall(table)]

    def filled(match: re.Match) -> str:
        run = entry(log, match[2], CPU)
        return f"{match[1]} {duration(run['minutes'])}, {run['gigabytes']:.1f} GB {match[3]}"

    oldest = min((entry(log, name, CPU) for name in names), key=lambda run: run["date"])
    caption = f"Time and peak memory: on {oldest['device']}, {_how(oldest)}. "
    if gpu := [run for name in names if (run := entry(log, name, GPU))]:
        total = duration(sum(run["minutes"] for run in gpu))
        caption += f"On a {gpu[0]['device']}: {total} for {len(gpu)} of {len(names)} notebooks ({_how(gpu[0])})."
    else:
        caption += f"Nobody has timed it on Colab's {GPU} yet."
    return f"{before}\n{ROW.sub(filled, table)}\n\n*{caption}*\n{after}"


def main(root: Path = ROOT) -> None:
    """Write the measured times into ``root``'s README, ``minutes.json`` and the first cells of its notebooks.

    Raises:
        CourseError: a notebook has not been run, or a place to write to is gone; then nothing is written.
    """
    notebooks, log = find([], root / "notebooks"), timings.read()
    for path in notebooks:
        if not entry(log, path.stem, CPU):
            raise CourseError(
                f"No run of {path.stem} on rendered rooms without a GPU, in profile {PROFILES[CPU]}, is in "
                f"{timings.log_file().parent.name}/{timings.log_file().name}: run 'make notebooks' first."
            )
    readme = with_times((root / "README.md").read_text(encoding="utf-8"), log)
    contents = {path: nbformat.read(path, as_version=4) for path in notebooks}
    for path, notebook in contents.items():
        notebook.cells[0].source = with_rows(notebook.cells[0].source, log, path.stem)
        for cell in notebook.cells:  # the set-up cell printed its time before this run was measured
            for output in cell.get("outputs", []) if "setup(" in cell.source else []:
                if "text" in output:
                    now = times(log, path.stem)[PROFILES[CPU]]
                    output.text = re.sub(r"^(Time +).*$", lambda match: match[1] + now, output.text, flags=re.MULTILINE)
    for path, notebook in contents.items():
        with whole_file(path) as temporary:
            nbformat.write(notebook, temporary)
    write_json(root / "helpers" / MINUTES.name, {path.stem: times(log, path.stem) for path in notebooks})
    with whole_file(root / "README.md") as temporary:
        temporary.write_text(readme, encoding="utf-8")
    print(f"wrote the times of {len(notebooks)} notebooks into README.md and notebooks/")


if __name__ == "__main__":
    with plain_errors():
        main()
