"""A handed-in notebook as text: the code that is run for an exercise. Nothing in it is run here.

For an exercise counts the last ``check("N.k", name)``, and of all code before it only the statements that define
``name``, directly or through what it uses: imports, functions, classes, variables. So nobody waits for the training
that stands in the same notebook, unless a function uses the trained network.
"""

import ast
import json
import re
import symtable
from collections.abc import Iterator
from typing import NamedTuple

CALL = re.compile(r"\bcheck\(\s*[\"']?(\d+\.\d+)")  # also in a cell that is no Python
COMPREHENSIONS = {"listcomp", "setcomp", "dictcomp", "genexpr"}
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Unreadable(ValueError):
    """This is no notebook that can be graded; the message gives the reason."""


class Statement(NamedTuple):
    node: ast.stmt
    cell: str  # "<cell 7>"
    sets: set[str]  # names that it defines whatever they were before
    binds: set[str]  # names that it may define; "*" is any
    changes: set[str]  # these, and names whose value it may change
    now: set[str]  # global names that it uses when it is run
    later: set[str]  # global names that its functions use when they are called


def code_cells(raw: bytes) -> dict[str, str]:
    """The source of each code cell, by a name with its position in the notebook; raises :class:`Unreadable`."""
    try:
        content = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise Unreadable("no notebook: it is not JSON in UTF-8") from None
    if not isinstance(content, dict) or content.get("nbformat") != 4 or not isinstance(content.get("cells"), list):
        raise Unreadable("no notebook of format 4, which Jupyter has saved since 2015")
    found = {}
    for position, cell in enumerate(content["cells"]):
        source = cell.get("source", "") if isinstance(cell, dict) else None
        if isinstance(source, list) and all(isinstance(line, str) for line in source):
            source = "".join(source)
        if not isinstance(source, str) or "cell_type" not in cell:
            raise Unreadable(f"cell {position} is damaged")
        if cell["cell_type"] == "code":
            found[f"<cell {position}>"] = source
    return found


def piece(cells: dict[str, str], number: str) -> list[tuple[ast.AST, str]] | None:
    """The statements to run for an exercise, and last the expression that is checked, each with the name of its cell.

    None where no cell checks it; where the last one that does is no Python, the error is raised.
    """
    found, before = None, []
    for cell, source in cells.items():
        try:
            for node in _parsed(source, cell).body:
                for answer in _answers(node, number):
                    needed = _needed(before, set().union(*_uses(answer)))
                    found = [*((one.node, one.cell) for one in needed), (answer, cell)]
                before.append(_statement(node, cell))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            if number in CALL.findall(source):
                found = error
    if isinstance(found, Exception):
        raise found
    return found


def _parsed(source: str, cell: str) -> ast.Module:
    try:
        return ast.parse(source, cell)
    except SyntaxError:  # without the lines that IPython alone knows
        ipython = r"^([ \t]*)(?:[%!?].*|[\w.]+\?\??)[ \t]*$"
        return ast.parse(re.sub(ipython, r"\1pass", source, flags=re.MULTILINE), cell)


def _answers(statement: ast.stmt, number: str) -> Iterator[ast.expr]:
    """What the calls of ``check`` in a statement are given for an exercise."""
    for node in ast.walk(statement) if not isinstance(statement, DEFINITIONS) else ():
        match node:
            case ast.Call(ast.Name("check"), [ast.Constant(value), answer]) if str(value) == number:
                yield answer


def _needed(statements: list[Statement], names: set[str]) -> list[Statement]:
    """Those of ``statements`` that define ``names``, or what their definitions use, in their order.

    A name is wanted as it is at some place: its last definition before that, and what has changed it in between. What
    a function uses is wanted as it is where the function is.
    """
    left, done, kept = [(name, len(statements)) for name in names], set(), set()
    imports = (one.binds for one in statements if isinstance(one.node, (ast.Import, ast.ImportFrom)))
    imported = set().union(*imports)  # torch.save(net) does not change torch
    while left:
        want = name, place = left.pop()
        if want in done:
            continue
        done.add(want)
        for i in reversed(range(place)):
            one = statements[i]
            if {name, "*"} & (one.binds if name in imported else one.changes):
                kept.add(i)
                left += [(used, i) for used in one.now] + [(used, place) for used in one.later]
            if name in one.sets:
                break
    return [statements[i] for i in sorted(kept)]


def _statement(node: ast.stmt, cell: str) -> Statement:
    symbols = symtable.symtable(ast.unparse(node), cell, "exec").get_symbols()
    bound = {one.get_name() for one in symbols if one.is_assigned() or one.is_imported()}
    sets = bound if isinstance(node, (*DEFINITIONS, ast.Assign, ast.AnnAssign)) else set()
    changed = [part for part in ast.walk(node) if isinstance(getattr(part, "ctx", None), (ast.Store, ast.Del))]
    calls = (one.value.func for one in ast.walk(node) if isinstance(one, ast.Expr) and isinstance(one.value, ast.Call))
    changed += [call for call in calls if isinstance(call, ast.Attribute)]  # a.append(1) may change a, print(a) nothing
    changes = {_root(part) for part in changed if not isinstance(node, DEFINITIONS)}
    binds = bound | {"*" for name in getattr(node, "names", ()) if isinstance(name, ast.alias) and name.name == "*"}
    return Statement(node, cell, sets, binds, binds | changes, *_uses(node))


def _uses(node: ast.AST) -> tuple[set[str], set[str]]:
    """The global names in a piece of code: those used when it is run, and those in its functions."""
    top = symtable.symtable(ast.unparse(node), "cell", "exec")
    now, later, left = {one.get_name() for one in top.get_symbols() if one.is_referenced()}, set(), [(top, False)]
    for table, inside in left:
        for child in table.get_children():
            called = inside or child.get_type() == "function" and child.get_name() not in COMPREHENSIONS
            (later if called else now).update(one.get_name() for one in child.get_symbols() if one.is_global())
            left.append((child, called))
    return now, later


def _root(node: ast.AST) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
