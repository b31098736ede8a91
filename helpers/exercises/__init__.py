"""Exercises: ``check`` tests an answer and says what is wrong with it, ``hint`` helps, ``solution`` shows one way.

A notebook leaves gaps, ``____``, for its reader to fill, and hands the finished function to ``check``. Each notebook
has a module here (``nb01`` and so on) that tests its answers and knows typical mistakes, imported when first needed.
The solutions stand apart, in ``solutions``, so that a teacher can take them out: ``python -m helpers.exercises strip``.
"""

from helpers.exercises.checker import Result, ____, check, hint, solution

__all__ = ["Result", "____", "check", "hint", "solution"]
