"""What can be set in a notebook: the lines of its parameters cell, read as Python reads them and papermill sets them.

papermill itself looks at such a cell line by line and leaves out, without a word, what it cannot read.
"""

import ast
import difflib
import io
import re
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args

import nbformat

from gengap.errors import UserError

TYPES = {kind.__name__: kind for kind in (bool, int, float, str, list, dict)}  # what papermill can set


def parse_parameters(settings: list[str]) -> dict[str, object]:
    """`["n_windows=500", "model_size=ladder-50k"]` as a dictionary of Python literals, else strings."""
    parameters = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise UserError(f"{setting!r} is not of the form name=value")
        try:
            parameters[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            parameters[name] = text
    return parameters


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell: `name: type = default  # help`."""

    name: str
    type: type | UnionType  # one of `TYPES`, or a union of them and None
    default: Any
    help: str


def parameters(notebook: Path) -> list[Parameter]:
    """What can be set in an `.ipynb`, in the order of its cell.

    `UserError` if there is no such notebook, and for a line of the cell that is no parameter, with the reason.
    """
    if not notebook.exists():
        raise UserError(f"there is no notebook {notebook}: `make sync` writes the pairs")
    if notebook.is_dir() or (read := read_notebook(notebook)) is None:
        raise UserError(f"{notebook} is no notebook: name an .ipynb of notebooks/ (`make sync` writes them)")
    cells = [cell.source for cell in read.cells if "parameters" in cell.metadata.get("tags", [])]
    return _declared(cells[0], notebook.stem) if cells else []


def read_notebook(path: Path) -> nbformat.NotebookNode | None:
    """The notebook in a file; None if there is none in it."""
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except (ValueError, LookupError, AttributeError, TypeError, nbformat.ValidationError):
        return None
    return notebook


def _declared(code: str, where: str) -> list[Parameter]:
    """The parameters of a cell, whose every statement must be one."""
    try:
        statements = ast.parse(code).body
        words = list(tokenize.generate_tokens(io.StringIO(code).readline))
    except (SyntaxError, tokenize.TokenError) as error:
        raise UserError(f"{where}: its parameters cell is not Python: {error}") from error
    comments = {word.start[0]: word.string.lstrip("# ") for word in words if word.type == tokenize.COMMENT}
    found = []
    for statement in statements:
        try:
            found.append(_parameter(statement, comments.get(statement.end_lineno, "")))
        except (ValueError, SyntaxError, TypeError) as error:
            raise UserError(
                f"{where}: {ast.unparse(statement)!r} is no parameter, because {error}: write `name: type = literal  # meaning`"
            ) from error
    return found


def _parameter(statement: ast.stmt, comment: str) -> Parameter:
    """ValueError with the reason why a statement is none."""
    match statement:
        case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=ast.expr() as value):
            pass
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            annotation = None
        case _:
            raise ValueError("it gives no name a value")
    try:
        default = ast.literal_eval(value)
    except ValueError as error:
        raise ValueError("its value is no literal") from error
    if not _settable(default):
        raise ValueError("papermill cannot set values of its type")
    if annotation is None and (typed := re.match(r"type:\s*(\S+)\s*(.*)", comment)):
        annotation, comment = ast.parse(typed[1], mode="eval").body, typed[2]
    kind = type(default) if annotation is None else _kind(annotation)
    if kind is NoneType:
        raise ValueError("None alone does not say what else it can be")
    if not _fits(default, kind):
        raise ValueError(f"its value is no {_name(kind)}")
    return Parameter(name, kind, default, comment)


def _kind(annotation: ast.expr) -> type | UnionType:
    """The type that an annotation names; of `list[int]` the list alone."""
    match annotation:
        case ast.Constant(value=str(text)):
            return _kind(ast.parse(text, mode="eval").body)
        case ast.Constant(value=None):
            return NoneType
        case ast.Subscript(value=outer):
            return _kind(outer)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            kinds = _kind(left), _kind(right)
            return kinds[0] | kinds[1]
        case ast.Name(id=name) if name in TYPES:
            return TYPES[name]
    raise ValueError(f"its type is none of {', '.join(TYPES)} and their unions with None")


def _settable(value: object) -> bool:
    """Whether papermill writes the value as it is; of a tuple it makes a text."""
    if isinstance(value, list):
        return all(map(_settable, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _settable(entry) for key, entry in value.items())
    return value is None or type(value) in TYPES.values()


def _fits(value: object, kind: type | UnionType) -> bool:
    kinds = get_args(kind) or (kind,)
    return type(value) in kinds or (type(value) is int and float in kinds)


def _name(kind: type | UnionType) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)


def check_parameters(notebook: Path, given: Mapping[str, object]) -> None:
    """Raise `UserError` unless every parameter exists in the notebook's parameters cell and has its type."""
    declared = {parameter.name: parameter for parameter in parameters(notebook)}
    for name, value in given.items():
        if name not in declared:
            near = difflib.get_close_matches(name, declared, n=1)
            hint = f": did you mean {near[0]}?" if near else f"; it has {', '.join(declared) or 'none'}"
            raise UserError(f"{notebook.stem} has no parameter {name!r}{hint}")
        if not _fits(value, kind := declared[name].type):
            have = type(value).__name__
            raise UserError(f"{notebook.stem}: parameter {name} is a {_name(kind)}, but {value!r} is a {have}")
        if not _settable(value):
            raise UserError(
                f"{notebook.stem}: parameter {name} cannot be {value!r}: use lists in place of tuples and sets"
            )
