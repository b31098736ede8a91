"""Mutated files at every door; see tests/fuzzing.py, which runs any number of them."""

import json
import re

import fuzzing
import pytest
from fuzzing import DOORS, Door

from helpers.config import CourseError


def test_a_thousand_mutated_files_are_refused_with_a_sentence_or_read_right():
    table, failures = fuzzing.run(fuzzing.shares(1000), seed=0)
    print(table)
    assert not failures, "\n".join(failures)


def grow():
    bytes(range(256)) * 1_000_000


def escape():
    open("beside", "w").close()


def die():
    fuzzing.os.kill(fuzzing.os.getpid(), 9)


def stop():
    fuzzing.time.sleep(60)


def refuse(words):
    raise CourseError(words)


@pytest.mark.parametrize(
    "use, words",
    [
        (lambda *_: json.loads("{"), "JSONDecodeError"),
        (lambda *_: refuse("KeyError"), "KeyError"),
        (lambda *_: escape(), "wrote beside its folder"),
        (lambda *_: grow(), "took .* MB"),
        (lambda *_: fuzzing.time.sleep(1.3), "took .* seconds"),
        (lambda *_: stop(), "hangs"),
        (lambda *_: die(), "ended with -9"),
        (lambda *_: fuzzing.same({"a": 1}, {"a": 2}), "other values"),
    ],
)
def test_each_kind_of_failure_is_seen(monkeypatch, use, words):
    monkeypatch.setattr(fuzzing, "SECONDS", 1)
    monkeypatch.setattr(fuzzing, "MEGABYTES", 100)
    monkeypatch.setitem(DOORS, "bad", Door(lambda folder: None, use, 1))
    _, (failure,) = fuzzing.run({"bad": 1}, seed=3)
    assert re.search(words, failure) and "--door bad --seed 3 --only 0" in failure


def test_the_same_case_twice_is_the_same():
    kinds = [[outcome.kind for outcome in fuzzing.run_door("weights", 5, 40)] for _ in range(2)]
    assert kinds[0] == kinds[1] and {"refused", "read"} <= {*kinds[0]}
