"""For teachers: ``python -m helpers.exercises strip`` takes the answers out of this copy, and ``grade FOLDER`` grades
the notebooks that students hand in.
"""

import argparse
import sys
from pathlib import Path

from helpers.config import plain_errors
from helpers.exercises.grade import grade
from helpers.exercises.strip import strip


def arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m helpers.exercises", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("strip", help="take solutions, folded answers and tests of right answers out of this copy")
    grading = commands.add_parser("grade", help="run the exercises of all notebooks in a folder; write a CSV file")
    grading.add_argument("folder", type=Path)
    grading.add_argument("--out", type=Path, default=Path("points.csv"), help="default: points.csv")
    grading.add_argument("--seconds", type=float, default=60.0, help="the most for one exercise (default 60)")
    grading.add_argument("--memory", type=float, default=2.0, help="GB, the most for one exercise (default 2)")
    return parser.parse_args(words)


def main(words: list[str]) -> None:
    given = arguments(words)
    if given.command == "grade":
        rows = grade(given.folder, given.out, given.seconds, given.memory)
        print(f"{len(rows)} notebooks graded: {given.out}")
        return
    print("\n".join(strip()) or "There are no answers any more.")
    print("Still readable: git's history, and what is right in the checkers (helpers/exercises/nb01.py and so on).")


if __name__ == "__main__":
    with plain_errors():
        main(sys.argv[1:])
