"""Lines of a parameters cell: each is a parameter as Python reads it, or is refused in one sentence; none vanishes."""

import nbformat
import papermill
import pytest

from gengap.book import notebooks
from gengap.book.parameters import Parameter, check_parameters, parameters
from gengap.errors import UserError


def notebook_of(folder, code, then="pass"):
    first = nbformat.v4.new_code_cell(code, metadata={"tags": ["parameters"]})
    notebook = nbformat.v4.new_notebook(cells=[first, nbformat.v4.new_code_cell(then)])
    notebook.metadata |= {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(notebook, folder / "n.ipynb")
    return folder / "n.ipynb"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("n: int = 3  # windows", Parameter("n", int, 3, "windows")),
        ('filter: str = "kind=code"  # rows to keep', Parameter("filter", str, "kind=code", "rows to keep")),
        ("step: int = 1_000  # revision, n=step", Parameter("step", int, 1000, "revision, n=step")),
        ("a: float = -0.5  # b == c", Parameter("a", float, -0.5, "b == c")),
        ("a: float = 2", Parameter("a", float, 2, "")),
        ("a = 5  # without a type", Parameter("a", int, 5, "without a type")),
        ("a = 5  # type: float a number", Parameter("a", float, 5, "a number")),
        ('a: "str" = "#=#"  # help', Parameter("a", str, "#=#", "help")),
        ("a: str | None = None  # a name", Parameter("a", str | None, None, "a name")),
        ("a: None | int = 3", Parameter("a", None | int, 3, "")),
        ("a: list[int] = [1, 2]  # numbers", Parameter("a", list, [1, 2], "numbers")),
        ("a: dict[str, list[int]] = {'x': [1]}", Parameter("a", dict, {"x": [1]}, "")),
        ("a: list = [  # inside\n  1,\n  # between = lines\n  -2,\n]  # help", Parameter("a", list, [1, -2], "help")),
        ('a: str = "a" "b"', Parameter("a", str, "ab", "")),
        ('a: str = """two\nlines = here"""  # help', Parameter("a", str, "two\nlines = here", "help")),
        ("a: bool = False", Parameter("a", bool, False, "")),
        ("ä: int = 0x1F", Parameter("ä", int, 31, "")),
        ("# a = comment\n\na: int = 1", Parameter("a", int, 1, "")),
    ],
)
def test_a_line_is_read_as_python_reads_it_and_papermill_can_set_it(tmp_path, line, expected):
    path = notebook_of(tmp_path, line)
    assert parameters(path) == [expected]
    check_parameters(path, {expected.name: expected.default})
    written = papermill.parameterize.parameterize_notebook(
        papermill.iorw.load_notebook_node(str(path)), {expected.name: expected.default}
    )
    values = {}
    exec(written.cells[1].source, values)
    assert values[expected.name] == expected.default


@pytest.mark.parametrize(
    ("line", "because"),
    [
        ("revision = None", "None alone does not say"),
        ("revision: None = None", "None alone does not say"),
        ("n: int", "it gives no name a value"),
        ("n: int = None", "its value is no int"),
        ("n: int = 2.5", "its value is no int"),
        ("n: int = True", "its value is no int"),
        ("n: str | int = 2.5", r"its value is no str \| int"),
        ("n: float = '1'", "its value is no float"),
        ("n: tuple = (1, 2)", "papermill cannot set"),
        ("n = (1, 2)", "papermill cannot set"),
        ("n = [(1, 2)]", "papermill cannot set"),
        ("n = {1, 2}", "papermill cannot set"),
        ("n = {1: 2}", "papermill cannot set"),
        ("n = b'x'", "papermill cannot set"),
        ("n = 1j", "papermill cannot set"),
        ("n: Path = 'x'", "its type is none of bool"),
        ("n: Optional[str] = 'x'", "its type is none of bool"),
        ("n: 'a b' = 'x'", "invalid syntax"),
        ("n: int = 10 * 1000", "its value is no literal"),
        ("n: int = f(3)", "its value is no literal"),
        ('n: str = f"{x}"', "its value is no literal"),
        ("a = b = 3", "it gives no name a value"),
        ("a, b = 3, 4", "it gives no name a value"),
        ("a.b = 3", "it gives no name a value"),
        ("a += 3", "it gives no name a value"),
        ("import os", "it gives no name a value"),
        ("print(3)", "it gives no name a value"),
        ("'a docstring = here'", "it gives no name a value"),
        ("%matplotlib inline", "is not Python"),
        ("n: int = [1,", "is not Python"),
    ],
)
def test_a_line_that_is_none_is_refused_with_the_reason_before_anything_runs(tmp_path, line, because):
    path = notebook_of(tmp_path, f"m: int = 1  # fine\n{line}", "open('ran', 'w')")
    with pytest.raises(UserError, match=because):
        parameters(path)
    with pytest.raises(UserError, match=because):
        notebooks.execute(path, tmp_path / "out.ipynb", {"m": 2})
    assert [p.name for p in tmp_path.iterdir()] == ["n.ipynb"]


@pytest.mark.parametrize(
    ("line", "value", "said"),
    [
        ("n: list = [1]", (1, 2), r"n is a list, but \(1, 2\) is a tuple"),
        ("n: list = [1]", [(1, 2)], "use lists in place of tuples"),
        ("n: str | None = None", 3, r"n is a str \| None, but 3 is a int"),
        ("n: int = 3", None, "n is a int, but None is a NoneType"),
        ("n: float = 3", True, "n is a float, but True is a bool"),
        ("n: dict = {}", {1: 2}, "cannot be"),
    ],
)
def test_values_of_another_type_are_refused(tmp_path, line, value, said):
    path = notebook_of(tmp_path, line)
    with pytest.raises(UserError, match=said):
        check_parameters(path, {"n": value})


def test_none_and_the_other_type_of_a_union_are_fine(tmp_path):
    path = notebook_of(tmp_path, "n: float | None = None")
    for value in (None, 3, 0.5):
        check_parameters(path, {"n": value})


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "null", "3", '{"cells": 3}', "# %%\nx = 1\n", '{"nbformat": 4}', "\0"]
)
def test_a_file_that_is_no_notebook_is_refused(tmp_path, content):
    (path := tmp_path / "n.ipynb").write_text(content)
    with pytest.raises(UserError, match="is no notebook"):
        parameters(path)
    with pytest.raises(UserError, match="is no notebook"):
        parameters(tmp_path)
