"""Grading: one row for each handed-in notebook, whatever is in it, and nothing else changes."""

import ast
import csv
import hashlib
import inspect
import json
import os
import re
import subprocess
import sys
import time

import nbformat
import pytest

from helpers.config import ROOT, CourseError
from helpers.exercises import grade_process
from helpers.exercises.grade import grade, harmless, row, run, write
from helpers.exercises.handed_in import MAX_BYTES, Unreadable, pieces
from helpers.exercises.solutions import SOLUTIONS

pytestmark = pytest.mark.skipif(not SOLUTIONS, reason="the solutions have been taken out of this copy")
CELLS, STUBS, NAMES = {}, {}, {}  # by notebook its code; by exercise its cell and the name of its function
for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
    CELLS[path.stem] = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    for source in CELLS[path.stem]:
        for number, name in re.findall(r'^check\("([\d.]+)", (\w+)\)$', source, re.MULTILINE):
            STUBS[number], NAMES[number] = source, name
STEM = "04_losses_and_metrics"
NUMBERS = [number for number in STUBS if number.startswith("4.")]
IMPORTS = "import numpy as np\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn\n" \
          "from helpers import *\nfrom helpers.exercises import ____, check"  # fmt: skip


def solved(number):
    return f"{inspect.getsource(SOLUTIONS[number])}\n\ncheck('{number}', {NAMES[number]})"


def notebook(*sources, **more):
    cells = [{"cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": 1} for source in sources]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5, **more})


def imports(stem=STEM):
    """What the notebook's own import lines say: solutions need them."""
    trees = [ast.parse(re.sub(r"^\s*[%!].*$", "pass", source, flags=re.MULTILINE)) for source in CELLS[stem][1:]]
    return "\n".join(ast.unparse(node) for tree in trees for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom)))


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def function(number, body, before=""):
    return f"{before}\ndef {NAMES[number]}(*given, **more):\n    {body}\n\ncheck('{number}', {NAMES[number]})"


@pytest.mark.slow
def test_a_class_hands_in(tmp_path, capsys):
    folder, victim = tmp_path / "handed in", tmp_path / "victim.txt"
    folder.mkdir()
    victim.write_text("as it was")
    a, b, c, d = NUMBERS[:4]
    hostile = [
        IMPORTS,
        "print('✓ all right')\nimport helpers.exercises\nhelpers.exercises.check = check = lambda *_: True",
        function(a, "while True: pass"),
        function(b, "os._exit(0)", "import os"),
        function(c, "open(victim, 'w').write('x')", f"victim = {str(victim)!r}"),
        function(d, "bytearray(10**12)"),
    ]
    texts = {
        "perfect.ipynb": notebook(imports(), *map(solved, NUMBERS)),
        "half.ipynb": notebook(imports(), solved(a), STUBS[b], "this is no Python\ncheck('%s', x)" % c),
        "hostile.ipynb": notebook(*hostile),
        "=1+2.ipynb": "{",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "link.ipynb").symlink_to(victim)
    before, start = digest(folder), time.monotonic()
    grade(folder, tmp_path / "points.csv", seconds=15)
    assert time.monotonic() - start < 400
    assert digest(folder) == before and victim.read_text() == "as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["handed in", "points.csv", "victim.txt"]

    table = list(csv.DictReader((tmp_path / "points.csv").open(encoding="utf-8-sig")))
    rows = {one["file"]: one for one in table}
    assert list(table[0]) == ["file", *NUMBERS, "points", "of", "remark"]
    assert list(rows) == ["'=1+2.ipynb", "half.ipynb", "hostile.ipynb", "link.ipynb", "perfect.ipynb"]
    perfect, half, hostile = rows["perfect.ipynb"], rows["half.ipynb"], rows["hostile.ipynb"]
    assert [perfect[number] for number in NUMBERS] == ["passed"] * len(NUMBERS), perfect["remark"]
    assert perfect["points"] == perfect["of"] == str(len(NUMBERS)) and perfect["remark"] == ""
    assert [half[number] for number in (a, b, c, d)] == ["passed", "blank", "error", "missing"] and half["points"] == "1"
    assert "no Python, line 1" in half["remark"]
    assert [hostile[number] for number in (a, b, c)] == ["timeout", "error", "error"] and hostile["points"] == "0"
    assert hostile[d] in ("error", "wrong")
    assert "JSON" in rows["'=1+2.ipynb"]["remark"] and "link" in rows["link.ipynb"]["remark"]
    assert f"perfect.ipynb: {len(NUMBERS)} of {len(NUMBERS)}" in capsys.readouterr().out


PATCHED = "m.expect = m.has_gradient = m.shaped = m.Wrong = lambda *a, **k: None"
CHEATS = {
    "the comparison replaced": f"import helpers.exercises.nb04 as m\n{PATCHED}",
    "its code replaced": "import helpers.exercises.compare as m\nm.expect.__code__ = (lambda *a, **k: None).__code__",
    "numpy replaced": "import numpy as np\nnp.allclose = lambda *a, **k: True",
    "the verdict replaced": "import helpers.exercises.checker as m\nm.verdict = m.check = lambda *a: m.Result('passed', '')",
    "the solution taken": "import helpers.exercises.solutions as m\nreturn m.SOLUTIONS['4.1'](*given)",
    "the program stopped": "import sys\nsys.exit(0)",
    "the way out closed": "import os\nos._exit = lambda *_: None\nraise SystemExit",
    "a report of its own": "import os\nfor k in range(3, 50):\n    try: os.write(k, b'4.1 passed 00\\n')\n    except OSError: pass",
    "a process left behind": "import os, time\nif os.fork() == 0:\n    os.setsid(); time.sleep(3333)\nos._exit(0)",
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="elsewhere each would need a process that imports torch")
def test_cheats_give_no_points():
    states, left = {}, list(CHEATS.items())
    while left:
        some, left = dict(zip(NUMBERS, left)), left[len(NUMBERS) :]
        cells = [function(number, "\n    ".join(body.splitlines())) for number, (_, body) in some.items()]
        results = run(notebook(IMPORTS, *cells).encode(), 20, 2)
        states |= {some[number][0]: (state, message) for number, state, message in results if number in some}
    assert list(states) == list(CHEATS)
    for name, (state, message) in states.items():
        assert state in ("wrong", "error"), (name, message)
        assert "replaced" not in name or "of a library" in message, (name, message)
    if os.path.exists("/proc"):
        commands = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
        assert grade_process.BOOT not in commands, "no process is left"


def test_what_cannot_be_read_says_why():
    damaged = {
        b"\xff\xfe": "JSON", b"[" * 100_000: "JSON", b"[]": "format 4", b'{"nbformat": 3, "cells": []}': "format 4",
        notebook(cells=7).encode(): "format 4", notebook(cells=[7]).encode(): "cell 0 is damaged",
        notebook({"a": 1}).encode(): "cell 0 is damaged", notebook("x = 1").encode(): "no exercises",
    }  # fmt: skip
    for raw, words in damaged.items():
        with pytest.raises(Unreadable, match=words):
            pieces(raw)
    assert list(pieces(notebook(["x = 1\n", "check('4.1', x)"]).encode())) == ["4.1"], "a source may be a list of lines"


def test_only_what_an_answer_uses_is_run():
    (piece,) = pieces(notebook(
        "%matplotlib inline\nimport os, sys\nimport torch\nnet = train(everything)\nhalf = lost()",
        "%%time\nhalf = 0.5\nparts = []\nparts.append(half)\nparts[0] += 1\ndef other(): return net",
        "def inner(x): return x > half\ndef answer(net, parts_=parts):\n    y = [net for net in net]\n    return inner(torch)",
        "half = 7\ncheck('4.1', answer)\nhalf = 8",
    ).encode()).values()  # fmt: skip
    text = "\n".join(ast.unparse(one.node) for one in piece.statements)
    assert "train" not in text and "lost" not in text and "os" not in text and "other" not in text
    for line in ("import torch", "half = 7", "half = 0.5", "parts.append(half)", "parts[0] += 1", "def inner"):
        assert line in text, line
    assert "half = 8" not in text


def test_the_last_check_counts_and_code_that_reaches_out_is_named():
    raw = notebook("def f(): return 1\ncheck('4.1', f)", "import inspect\ndef f(): return inspect\nresult = check('4.1', f)").encode()
    assert pieces(raw)["4.1"].cell == "<cell 1>" and pieces(raw)["4.1"].reaching == ["inspect"]
    assert pieces(notebook("def f(x): return torch.stack(x.modules())\ncheck('4.1', f)").encode())["4.1"].reaching == []


def test_lines_without_the_secret_are_no_results():
    good = grade_process.line("secret", "4.1", "passed", "right\nand good ✓")
    assert grade_process.read(good, "secret") == ("4.1", "passed", "right\nand good ✓") and good.count(b"\n") == 1
    for text in (b"", b"4.1 passed\n", good.replace(b"secret", b"Secret"), good + b"more", b"secret 4.1 passed zz\n", b"\xff" * 9):
        assert grade_process.read(text, "secret") is None


def test_a_table_is_safe_to_open(tmp_path):
    assert [harmless(text) for text in ("=1", " +1", "-x", "@a", "a=1", "a\nb\x07", "\udcff")][:5] == ["'=1", "' +1", "'-x", "'@a", "a=1"]
    assert harmless("a\nb\x07") == "a?b?" and harmless("\udcff") == "?"
    rows = [row("a,b.ipynb", [("4.10", "passed", ""), ("4.2", "wrong", '=cmd|"x"')]), row("b", [("-", "unreadable", "why")])]
    write(tmp_path / "t.csv", rows)
    first, second = csv.DictReader((tmp_path / "t.csv").open(encoding="utf-8-sig"))
    assert list(first) == ["file", "4.2", "4.10", "points", "of", "remark"]
    assert (first["points"], first["of"], second["points"], second["remark"]) == ("1", "2", "", "why")


def test_what_is_no_folder_or_empty_or_too_large(tmp_path):
    with pytest.raises(CourseError, match="not a folder"):
        grade(tmp_path / "none", tmp_path / "t.csv")
    with pytest.raises(CourseError, match="No file"):
        grade(tmp_path, tmp_path / "t.csv")
    with open(tmp_path / "large.ipynb", "wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    os.mkfifo(tmp_path / "pipe.ipynb") if hasattr(os, "mkfifo") else None
    rows = grade(tmp_path, tmp_path / "t.csv")
    assert "larger than 20 MB" in rows[0]["remark"] and all(not one["points"] for one in rows)


@pytest.mark.slow
@pytest.mark.parametrize("stem", CELLS)
def test_all_solutions_of_a_notebook_pass(stem):
    numbers = [number for number in STUBS if number.startswith(f"{int(stem[:2])}.")]
    results = run(notebook(imports(stem), *map(solved, numbers)).encode(), 60, 2)
    assert [(number, state) for number, state, _ in results] == [(number, "passed") for number in numbers], results


@pytest.mark.slow
def test_where_python_cannot_fork_each_exercise_has_a_process():
    number = NUMBERS[0]
    results = run(notebook(imports(), solved(number), function(NUMBERS[1], "while True: pass")).encode(), 15, 2, fork=False)
    states = {number: state for number, state, _ in results}
    assert states.pop(number) == "passed" and states.pop(NUMBERS[1]) == "timeout"
    assert set(states.values()) == {"missing"}


def test_the_command_explains_itself(tmp_path):
    def command(*words):
        return subprocess.run([sys.executable, "-m", "helpers.exercises", *words], cwd=ROOT, capture_output=True, text=True)

    assert "--seconds" in command("grade", "--help").stdout
    assert "is not a folder" in command("grade", str(tmp_path / "none")).stderr
