"""Exercises: ``check`` tests an answer and says what is wrong with it, ``hint`` helps, ``solution`` shows one way.

What is asked in a notebook, and which mistakes are known, stands in one module for each (``nb01`` and so on), which is
imported when its first exercise is asked for; the answers stand apart, in ``solutions``, so that a teacher can take them out.
"""

from helpers.exercises.checker import ____, check, hint, solution

__all__ = ["____", "check", "hint", "solution"]
