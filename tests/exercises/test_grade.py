"""Grading: one row for each handed-in notebook, whatever is in it, and nothing else changes."""

import ast
import csv
import inspect
import json
import os
import re
import subprocess
import sys

import nbformat
import pytest

from helpers.config import ROOT, CourseError
from helpers.exercises import grade_process
from helpers.exercises.__main__ import arguments
from helpers.exercises.grade import MAX_BYTES, grade, harmless, row, run, write
from helpers.exercises.handed_in import Unreadable, code_cells, piece
from helpers.exercises.solutions import SOLUTIONS

pytestmark = pytest.mark.skipif(not SOLUTIONS, reason="the solutions have been taken out of this copy")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="grading forks")
CELLS, STUBS, NAMES = {}, {}, {}  # by notebook its code; by exercise its cell and the name of its function
for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
    CELLS[path.stem] = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    for source in CELLS[path.stem]:
        for number, name in re.findall(r'^check\("([\d.]+)", (\w+)\)$', source, re.MULTILINE):
            STUBS[number], NAMES[number] = source, name
STEM = "04_losses_and_metrics"
NUMBERS = [number for number in STUBS if number.startswith("4.")]
IMPORTS = "import os\nfrom helpers import *\nfrom helpers.exercises import ____, check"


def solved(number):
    return f"{inspect.getsource(SOLUTIONS[number])}\n\ncheck('{number}', {NAMES[number]})"


def notebook(*sources, **more):
    cells = [{"cell_type": "code", "source": source, "metadata": {}, "outputs": []} for source in sources]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5, **more})


def imports(stem):
    """What a notebook's own import lines say: solutions need them."""
    trees = [ast.parse(re.sub(r"^\s*[%!].*$", "pass", source, flags=re.MULTILINE)) for source in CELLS[stem][1:]]
    nodes = [node for tree in trees for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    return "\n".join(map(ast.unparse, nodes))


def function(number, body):
    lines = "\n    ".join(body.splitlines())
    return f"def {NAMES[number]}(*given, **more):\n    {lines}\n\ncheck('{number}', {NAMES[number]})"


ATTACKS = {  # what a function does, and a word of the remark; VICTIM is a file outside, OWN the notebook itself
    "an endless loop": ("while True: pass", "not done after 10 s"),
    "memory": ("import numpy as np\nx = []\nwhile True: x.append(np.empty(10**7))", "MemoryError"),
    "its end": ("os._exit(0)", "ended without a result"),
    "an orderly end": ("import sys\nsys.exit(0)", "SystemExit"),
    "a file written": ("open(VICTIM, 'w').write('x')", "open is refused"),
    "its notebook written": ("os.open(OWN, os.O_RDWR + os.O_TRUNC)", "open is refused"),
    "a file deleted": ("os.remove(VICTIM)", "os.remove is refused"),
    "a large file": ("open('own', 'wb').write(bytes(2**27))", "File too large"),
    "a process left behind": ("import time\nos.fork() or time.sleep(3333)", "os.fork is refused"),
    "the parent killed": ("os.kill(os.getppid(), 9)", "os.kill is refused"),
    "marks printed": ("print('✓ 4.1: right.', flush=True)", "None"),
    "a report of its own": ("for k in range(3, 50):\n    try: os.write(k, b'0 passed 00\\n')\n    except OSError: 0",
                            "ended without a result"),
    "the way out closed": ("os._exit = lambda *_: None\nraise SystemExit", "SystemExit"),
    "check replaced": ("import helpers.exercises as m\nm.check = lambda *_: m.Result('passed', '')", "check cannot be"),
    "verdicts replaced": ("import helpers.exercises.checker as m\nm.verdict = lambda *_: None", "verdict cannot be"),
    "the comparison replaced": ("import helpers.exercises.nb04 as m\nm.expect = print", "expect cannot be"),
    "numpy replaced": ("import numpy as np\nnp.allclose = lambda *a, **k: True", "allclose cannot be"),
    "the solution taken": ("from helpers.exercises.solutions import SOLUTIONS", "ModuleNotFoundError"),
}  # fmt: skip


@needs_fork
def test_a_class_hands_in(tmp_path):
    folder, victim = tmp_path / "handed in", tmp_path / "victim.txt"
    folder.mkdir()
    victim.write_text("as it was")
    a, b, c, d = NUMBERS[:4]
    patched = "helpers.exercises.check = check = lambda *_: True"
    texts = {
        "perfect.ipynb": notebook(imports(STEM), *map(solved, NUMBERS)),
        "half.ipynb": notebook(imports(STEM), solved(a), STUBS[b], f"this is no Python\ncheck('{c}', x)"),
        "=1+2.ipynb": "{",
    }
    attacks = list(ATTACKS.items())
    groups = [dict(zip(NUMBERS, attacks[i : i + len(NUMBERS)])) for i in range(0, len(attacks), len(NUMBERS))]
    for i, group in enumerate(groups):
        name = f"hostile {i}.ipynb"
        paths = f"VICTIM, OWN = {str(victim)!r}, {str(folder / name)!r}"
        cells = [function(number, body) for number, (_, (body, _)) in group.items()]
        texts[name] = notebook(IMPORTS, paths, f"import helpers.exercises\n{patched}", *cells)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "link.ipynb").symlink_to(victim)
    command = [sys.executable, "-m", "helpers.exercises", "grade", folder, "--out", tmp_path / "points.csv"]
    said = subprocess.run([*command, "--seconds", "10"], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert said.returncode == 0, said.stderr
    assert {name: (folder / name).read_text(encoding="utf-8") for name in texts} == texts, "nothing changes"
    assert victim.read_text() == "as it was" and len(list(folder.iterdir())) == len(texts) + 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["handed in", "points.csv", "victim.txt"]

    table = list(csv.DictReader((tmp_path / "points.csv").open(encoding="utf-8-sig")))
    rows = {one["file"]: one for one in table}
    assert list(table[0]) == ["file", *NUMBERS, "points", "of", "remark"]
    assert rows.keys() == {name.replace("=", "'=") for name in texts} | {"link.ipynb"}
    perfect, half = rows["perfect.ipynb"], rows["half.ipynb"]
    assert [perfect[number] for number in NUMBERS] == ["passed"] * len(NUMBERS), perfect["remark"]
    assert perfect["points"] == perfect["of"] == str(len(NUMBERS)) and perfect["remark"] == ""
    assert [half[number] for number in (a, b, c, d, "points")] == ["passed", "blank", "error", "missing", "1"]
    assert "SyntaxError" in half["remark"] and "line 1" in half["remark"]
    assert "JSON" in rows["'=1+2.ipynb"]["remark"] and "link" in rows["link.ipynb"]["remark"]
    assert f"perfect.ipynb: {len(NUMBERS)} of {len(NUMBERS)}" in said.stdout
    for i, group in enumerate(groups):
        assert rows[f"hostile {i}.ipynb"]["points"] == "0"
        notes = dict(note.split(": ", 1) for note in rows[f"hostile {i}.ipynb"]["remark"].split(" | "))
        for number, (attack, (_, word)) in group.items():
            assert word in notes[number], (attack, notes[number])


def test_what_cannot_be_read_says_why():
    damaged = {
        b"\xff\xfe": "JSON", b"[" * 100_000: "JSON", b"[]": "format 4", b'{"nbformat": 3, "cells": []}': "format 4",
        notebook(cells=7).encode(): "format 4", notebook(cells=[7]).encode(): "cell 0 is damaged",
        notebook({"a": 1}).encode(): "cell 0 is damaged", notebook("x = 1").encode(): "no exercises",
    }  # fmt: skip
    for raw, words in damaged.items():
        with pytest.raises(Unreadable, match=words):
            run(raw, 1, 1)
    assert code_cells(notebook(["x = 1\n", "y"]).encode()) == {"<cell 0>": "x = 1\ny"}, "a list of lines"


def test_only_what_an_answer_uses_is_run():
    *statements, (answer, cell) = piece(code_cells(notebook(
        "%matplotlib inline\nimport os, sys\nimport torch\nnet = train(everything)\nhalf = lost()",
        "%%time\nhalf = 0.5\nparts = []\nparts.append(half)\nparts[0] += 1\ndef other(): return net",
        "def inner(x): return x > half",
        "def answer(net, parts_=parts):\n    y = [net for net in net]\n    return inner(torch)",
        "half = 7\ncheck('4.1', answer)\nhalf = 8",
    ).encode()), "4.1")  # fmt: skip
    text = "\n".join(ast.unparse(node) for node, _ in statements)
    assert "train" not in text and "lost" not in text and "os" not in text and "other" not in text
    for line in ("import torch", "half = 7", "half = 0.5", "parts.append(half)", "parts[0] += 1", "def inner"):
        assert line in text, line
    assert "half = 8" not in text and (ast.unparse(answer), cell) == ("answer", "<cell 4>")


def test_what_only_prints_or_saves_is_not_run_and_a_loop_that_fills_a_table_is():
    *statements, _ = piece(code_cells(notebook(
        "import torch\nnet = train(everything)\nprint(net)\ntorch.save(net, 'net.pt')\nshifts = []",
        "for step in range(3):\n    shifts.append(step)\nif shifts:\n    shifts.extend([7])",
        "def answer(x):\n    print(x)\n    return torch.stack([x] * len(shifts))\nanswer?\ncheck('4.1', answer)",
    ).encode()), "4.1")  # fmt: skip
    text = "\n".join(ast.unparse(node) for node, _ in statements)
    assert "net" not in text and "shifts.append(step)" in text and "shifts.extend([7])" in text


@needs_fork
def test_an_answer_may_use_torchvision():
    """Its first import loads a library, which would be refused."""
    call = "def f(quartet):\n    return {key: TF.hflip(value) if value.ndim > 1 else value for key, value in quartet.items()}"
    raw = notebook("import torchvision.transforms.functional as TF\nfrom helpers.exercises import check", f"{call}\ncheck('2.1', f)")
    assert [state for number, state, _ in run(raw.encode(), 60, 2) if number == "2.1"] == ["passed"]


def test_the_last_check_of_an_exercise_counts():
    first, last = "def f(): return 1\ncheck('4.1', f)", "f = 2\nresult = check('4.1', f)\ncheck(4.2, f)"
    cells = {"<cell 0>": first, "<cell 1>": last}
    assert [ast.unparse(node) for node, _ in piece(cells, "4.1")] == ["f = 2", "f"]
    assert piece(cells, "4.2") and piece(cells, "4.3") is None
    with pytest.raises(SyntaxError, match="cell 2"):
        piece({**cells, "<cell 2>": "check('4.1', f"}, "4.1")


def test_lines_without_the_nonce_are_no_results():
    good = b"nonce passed " + "right and good ✓".encode().hex().encode() + b"\n"
    assert grade_process.read(good, "nonce") == ("passed", "right and good ✓")
    bad = b"", b"passed\n", good.replace(b"nonce", b"Nonce"), good + b"x", good[:-1], b"nonce passed zz\n", b"\xff\n"
    for text in bad:
        assert grade_process.read(text, "nonce") is None


def test_a_table_is_safe_to_open(tmp_path):
    unsafe = ("=1", " +1", "-x", "@a", "a=1", "a\nb\x07", "\udcff")
    assert [harmless(text) for text in unsafe] == ["'=1", "' +1", "'-x", "'@a", "a=1", "a?b?", "?"]
    rows = [row("a,b.ipynb", [("4.10", "passed", ""), ("4.2", "wrong", '=cmd|"x"')])]
    rows += [row("b", [("-", "unreadable", "why")])]
    write(tmp_path / "t.csv", rows)
    first, second = csv.DictReader((tmp_path / "t.csv").open(encoding="utf-8-sig"))
    assert list(first) == ["file", "4.2", "4.10", "points", "of", "remark"]
    assert (first["points"], first["of"], second["points"], second["remark"]) == ("1", "2", "", "why")
    with pytest.raises(TypeError):
        write(tmp_path / "t.csv", [*rows, 7])
    assert len(list(tmp_path.iterdir())) == 1 and (tmp_path / "t.csv").read_text(encoding="utf-8-sig").count("\n") == 3


@needs_fork
def test_what_is_no_folder_or_empty_or_too_large(tmp_path):
    with pytest.raises(CourseError, match="not a folder"):
        grade(tmp_path / "none", tmp_path / "t.csv")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints" / "a.ipynb").write_text("{}")
    with pytest.raises(CourseError, match="No file"):
        grade(tmp_path, tmp_path / "t.csv")
    with open(tmp_path / "large.ipynb", "wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    os.mkfifo(tmp_path / "pipe.ipynb")
    large, pipe = grade(tmp_path, tmp_path / "t.csv")
    assert "larger than 20 MB" in large["remark"] and "not a file" in pipe["remark"] and not large["points"]


@needs_fork
@pytest.mark.slow
@pytest.mark.parametrize("stem", CELLS)
def test_all_solutions_of_a_notebook_pass(stem):
    numbers = [number for number in STUBS if number.startswith(f"{int(stem[:2])}.")]
    results = run(notebook(imports(stem), *map(solved, numbers)).encode(), 60, 8)
    assert [(number, state) for number, state, _ in results] == [(number, "passed") for number in numbers], results


def test_the_command_explains_itself(capsys):
    with pytest.raises(SystemExit):
        arguments(["grade", "--help"])
    assert "--seconds" in capsys.readouterr().out
    given = arguments(["grade", "in"])
    assert (str(given.out), given.seconds, given.memory) == ("points.csv", 60, 2)
