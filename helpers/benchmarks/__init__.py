"""The evidence: commands that measure what the course claims, and :mod:`helpers.benchmarks.report`, which writes the
results page (``README.md`` in this folder). Nothing in the library or the notebooks needs any of it.

:mod:`~helpers.benchmarks.table` compares networks and recipes, :mod:`~helpers.benchmarks.ablation` the course's choices;
both train through :mod:`~helpers.benchmarks.runs`. :mod:`~helpers.benchmarks.latency` times single predictions,
:mod:`~helpers.benchmarks.loop` the training loop. :mod:`~helpers.benchmarks.failures` explains the worst predictions.
"""
