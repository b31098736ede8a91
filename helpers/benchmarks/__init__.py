"""The evidence: commands that measure what the course claims. The results page is ``README.md`` in this folder.

``table`` compares networks and recipes and ``ablation`` the course's choices; both train through ``runs``.
``latency`` times single predictions and ``loop`` the training loop; ``roofline`` says how near each part of a step is
to what the machine can do, ``rendering`` how fast quartets are rendered, ``loading`` how fast they are composed from
photographs; ``failures`` explains the worst predictions. What they store, ``report`` puts into the pages. ``score``
prints one line about one run, for the capstone of notebook 07; ``variety`` compares rendered rooms with photographs;
``handheld`` scores masks of pairs as hands take them, with and without registration; ``transfer`` trains from several
starts on few and on many real rooms. Nothing in the library needs any of it.
"""
