"""Exercises: ``check`` tests a solution and names its mistake, ``hint`` helps, ``solution`` shows one way, and
``report`` lists what has been passed.

A notebook leaves gaps, ``____``, for its reader to fill, and hands the finished function to ``check``. Each notebook
has a module here (``nb01`` and so on) that tests its answers and knows typical mistakes, imported when first needed.
The solutions stand apart, in ``solutions``, so that a teacher can take them out: ``python -m helpers.exercises strip``.
``python -m helpers.exercises grade FOLDER`` runs the exercises of handed-in notebooks, each in a process of its own.
"""

from helpers.exercises.checker import Result, ____, check, hint, report, solution

__all__ = ["Result", "____", "check", "hint", "report", "solution"]
