"""``python -m helpers.exercises strip``, for teachers: takes the solutions out of this copy."""

import re
import sys
from pathlib import Path

from helpers.utils import whole_file

STRIPPED = '''"""The solutions of the exercises have been taken out; hints and checks stay as they are."""

SOLUTIONS: dict = {}
'''


def strip(path: Path = Path(__file__).with_name("solutions.py")) -> int:
    """Take all solutions out of the file; how many there were. Once they are gone, it changes nothing."""
    count = len(re.findall(r"^def ", path.read_text(encoding="utf-8"), re.MULTILINE))
    if count:
        with whole_file(path) as temporary:
            temporary.write_text(STRIPPED, encoding="utf-8")
    return count


if __name__ == "__main__":
    if sys.argv[1:] != ["strip"]:
        sys.exit("Usage: python -m helpers.exercises strip   (takes the solutions of all exercises out of this copy)")
    count = strip()
    print(f"{count} solutions taken out; git can bring them back." if count else "There are no solutions any more.")
