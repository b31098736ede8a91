"""A handed-in notebook as text: its exercises' functions and what they use. Nothing in it is run here.

For an exercise count the last cell with ``check("N.k", name)``, and of all code up to that line only the statements
that define ``name``, directly or through what it uses: imports, functions, classes, variables. So nobody waits for the
training that stands in the same notebook, unless a function uses the trained network.
"""

from __future__ import annotations

import ast
import json
import re
import symtable
from collections.abc import Iterator
from typing import NamedTuple

MAX_BYTES = 20_000_000
CALL = re.compile(r"\bcheck\(\s*[\"']?(\d+\.\d+)")  # also in a cell that is no Python
# With these names code can reach into the process that tests it. They prove nothing, but somebody should look.
REACHING = {"_getframe", "_current_frames", "inspect", "gc", "ctypes", "settrace", "setprofile", "f_back", "f_locals",
            "f_globals", "tb_frame", "__globals__", "__closure__", "__code__", "EXERCISES", "solutions", "checker", "fork",
            "Popen", "kill", "remove", "unlink", "rmtree"}  # fmt: skip


COMPREHENSIONS = {"listcomp", "setcomp", "dictcomp", "genexpr"}


class Unreadable(ValueError):
    """This is no notebook that can be graded; the message gives the reason."""


class Statement(NamedTuple):
    node: ast.stmt
    cell: str  # "<cell 7>"
    sets: set[str]  # names that it defines whatever they were before
    changes: set[str]  # names that it may define, or whose value it may change
    now: set[str]  # global names that it uses when it is run
    later: set[str]  # global names that its functions use when they are called


class Piece(NamedTuple):
    """What is run for one exercise."""

    statements: list[Statement]  # in their order
    answer: ast.expr  # what is handed to check
    cell: str
    reaching: list[str]  # names of REACHING that occur


def code_cells(raw: bytes) -> Iterator[tuple[int, str]]:
    """The position in the notebook and the source of each code cell; raises :class:`Unreadable`."""
    try:
        content = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise Unreadable("no notebook: it is not JSON in UTF-8") from None
    if not isinstance(content, dict) or content.get("nbformat") != 4 or not isinstance(content.get("cells"), list):
        raise Unreadable("no notebook of format 4, which Jupyter has saved since 2015")
    for position, cell in enumerate(content["cells"]):
        source = cell.get("source", "") if isinstance(cell, dict) else None
        if isinstance(source, list) and all(isinstance(line, str) for line in source):
            source = "".join(source)
        if not isinstance(source, str) or "cell_type" not in cell:
            raise Unreadable(f"cell {position} is damaged")
        if cell["cell_type"] == "code":
            yield position, source


def pieces(raw: bytes) -> dict[str, Piece | str]:
    """By exercise, what there is to run, or why there is nothing; raises :class:`Unreadable`."""
    found, before = {}, []
    for position, source in code_cells(raw):
        cell = f"<cell {position}>"
        try:
            for node in _parsed(source).body:
                for number, answer in _checks(node):
                    found[number] = _piece(before, answer, cell)
                before.append(_statement(node, cell))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = f", line {error.lineno}" if getattr(error, "lineno", None) else ""
            found.update(dict.fromkeys(CALL.findall(source), f"the cell is no Python{line}"))
    if not found:
        raise Unreadable("it has no exercises: no cell calls check")
    return found


def _piece(before: list[Statement], answer: ast.expr, cell: str) -> Piece:
    used = _needed(before, set().union(*_uses(answer)))
    words = {word for node in [answer, *(one.node for one in used)] for word in _words(node)}
    return Piece(used, answer, cell, sorted(words & REACHING))


def _parsed(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError:
        return ast.parse(re.sub(r"^([ \t]*)[%!].*$", r"\1pass", source, flags=re.MULTILINE))  # what IPython alone knows


def _checks(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    """The exercise and the answer of each call of ``check`` in a statement."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "check":
            given = [*node.args, *(word.value for word in node.keywords)]
            if len(given) == 2 and isinstance(given[0], ast.Constant):
                yield str(given[0].value), given[1]


def _needed(statements: list[Statement], names: set[str]) -> list[Statement]:
    """Those of ``statements`` that define ``names``, or what their definitions use, in their order.

    A name is wanted as it is at some place: its last definition before that, and what has changed it in between. What
    a function uses is wanted as it is where the function is.
    """
    left, done, kept = [(name, len(statements)) for name in names], set(), set()
    while left:
        want = left.pop()
        if want in done:
            continue
        done.add(want)
        name, place = want
        for i in reversed(range(place)):
            one = statements[i]
            if name in one.sets | one.changes or "*" in one.sets:
                kept.add(i)
                left += [(used, i) for used in one.now] + [(used, place) for used in one.later]
            if name in one.sets:
                break
    return [statements[i] for i in sorted(kept)]


def _statement(node: ast.stmt, cell: str) -> Statement:
    bound, now, later = _binds(node), *_uses(node)
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return Statement(node, cell, bound, set(), now, later)
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        plain = {part.id for target in targets for part in _parts(target) if isinstance(part, ast.Name)}
        return Statement(node, cell, plain, bound - plain, now, later)
    own = {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
    loops = {one.id for part in ast.walk(node) if isinstance(part, ast.For) for one in ast.walk(part.target)
             if isinstance(one, ast.Name)}  # fmt: skip
    if isinstance(node, ast.AugAssign):
        now |= own
    call = node.value if isinstance(node, ast.Expr) else None
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
        bound |= _root(call.func)  # a.append(1) may change a
    return Statement(node, cell, set(), bound, now - loops, later)


def _parts(target: ast.expr) -> Iterator[ast.expr]:
    if isinstance(target, (ast.Tuple, ast.List)):
        for part in target.elts:
            yield from _parts(part)
    else:
        yield target.value if isinstance(target, ast.Starred) else target


def _uses(node: ast.AST) -> tuple[set[str], set[str]]:
    """The global names in a piece of code: those used when it is run, and those in its functions."""
    top = symtable.symtable(ast.unparse(node), "cell", "exec")
    now, later, left = {one.get_name() for one in top.get_symbols() if one.is_referenced()}, set(), [(top, False)]
    while left:
        table, inside = left.pop()
        for child in table.get_children():
            called = inside or child.get_type() == "function" and child.get_name() not in COMPREHENSIONS
            (later if called else now).update(one.get_name() for one in child.get_symbols() if one.is_global())
            left.append((child, called))
    return now, later


def _binds(statement: ast.stmt) -> set[str]:
    """The names that a statement defines, or whose value it changes, at the notebook's top level."""
    names, left = set(), [statement]
    while left:
        node = left.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
            continue
        if isinstance(node, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            continue
        if isinstance(node, ast.alias):
            names.add(node.asname or node.name.partition(".")[0])
        elif isinstance(getattr(node, "ctx", None), (ast.Store, ast.Del)):
            names |= _root(node)
        left += ast.iter_child_nodes(node)
    return names


def _root(node: ast.AST) -> set[str]:
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred)):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def _words(tree: ast.AST) -> Iterator[str]:
    """All names, attributes, imported modules and strings in a piece of code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield from (node.name, *node.name.split("."))
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *node.module.split("."))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
