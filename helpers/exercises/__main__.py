"""``python -m helpers.exercises strip``, for teachers: takes the solutions out of this copy."""

import sys

from helpers.exercises.checker import strip

if sys.argv[1:] != ["strip"]:
    sys.exit("Usage: python -m helpers.exercises strip   (takes the solutions of all exercises out of this copy)")
count = strip()
print(f"{count} solutions taken out; git can bring them back." if count else "There are no solutions here any more.")
