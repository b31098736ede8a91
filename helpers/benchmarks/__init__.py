"""The evidence: commands that measure what the course claims; ``CONTRIBUTING.md`` lists them.

The results page is ``README.md`` in this folder, and ``report`` writes it. Nothing in the library needs any of it.
"""
