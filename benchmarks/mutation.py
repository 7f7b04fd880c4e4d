"""Mutation of the core modules: how many small errors, put into them one at a time, the tests notice.

    python -m venv /tmp/mutation && /tmp/mutation/bin/pip install mutmut==3.8.1
    python -c "import sysconfig as s; print(s.get_path('purelib'))" | tee /tmp/mutation/lib/python3.*/site-packages/project.pth
    python benchmarks/mutation.py /tmp/mutation                  # all modules: about an hour on one core
    python benchmarks/mutation.py /tmp/mutation sampling bound   # these again: what tests noticed before stays noticed

The environment is mutmut's own; through the .pth it sees what the project needs, from the environment that runs this. Each module has
a copy of the project below `--folder`, in which mutmut changes one thing after the other (a comparison, a sign, an argument, a
constant) and runs the tests of `TESTS` that reach it. What was not noticed is tried once more in a process of its own, since
a function that is called while a module is imported was called before. A mutant is *killed* if one of them fails, *endless* if they take several times
as long as usual or all memory, *equivalent* if mutation.toml lists it with the reason why no caller could see a difference that matters,
and *left* otherwise. Writes mutation.json. Two changes to the copy make it possible: mutmut wants sources in a folder `src`, and it
leaves decorated functions alone, so that a property is written `name = property(name)`.
"""

import argparse
import ast
import json
import os
import shutil
import subprocess
import tempfile
import tomllib
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
NOTICED = {"killed": "killed", "timeout": "endless", "segfault": "endless"}
BOUNDS, RECORDS = "tests/bounds/test_", "tests/records/test_"
TESTS = {  # of each module, quick ones; after " not ", parts of the names of tests that are too slow to be run so often
    "bounds/theorems": f"{BOUNDS}golden.py {BOUNDS}theorems.py not exact_source without_its monotone numpy_alone certificates search_for_a_tilt",
    "bounds/terms": f"{BOUNDS}golden.py {BOUNDS}companion.py not search_for_a_tilt range of_the_grid",
    "bounds/concentration": f"{BOUNDS}concentration.py not twentieth costs",
    "bounds/smoothing": f"{BOUNDS}smoothing.py not on_a_grid",
    "bounds/sampling": f"{BOUNDS}sampling.py not cover windows_beat",
    "bounds/summands": f"{BOUNDS}grids.py",
    "bounds/classical": f"{BOUNDS}concentration.py {BOUNDS}golden.py not twentieth costs paper_bound tight azuma search_for_a_tilt samples_show",
    "bounds/grids": f"{BOUNDS}grids.py {BOUNDS}golden.py not paper_bound azuma",
    "bounds/companion": f"{BOUNDS}companion.py not hedge_never",
    "bounds/companion_grids": f"{BOUNDS}companion.py not hedge_never",
    "bounds/requential": f"{BOUNDS}requential.py not after_the_data",
    "bounds/streaming": f"{BOUNDS}concentration.py not twentieth costs",
    "records/base": f"{RECORDS}base.py",
    "records/bound": f"{RECORDS}base.py {RECORDS}bound.py not byte_for_byte every_rung",
    "records/arithmetic": f"{RECORDS}arithmetic.py not forecast",
    "records/companion_arithmetic": f"{RECORDS}arithmetic.py not forecast",
    "records/others": f"{RECORDS}arithmetic.py",
    "records/requential": f"{RECORDS}requential_published.py",
    "records/training_run": f"{RECORDS}base.py",
    "records/survey": f"{RECORDS}base.py {RECORDS}arithmetic.py not forecast",
    "records/gaps": f"{RECORDS}gaps.py not command their_names frontier",
    "records/forecast": f"{RECORDS}forecast.py",
    "compression/archive": "tests/compression/test_archive.py not fuzzed every_flipped descriptions one_percent stationary",
}
REPORT = """
import json, pathlib, sys
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
codes = json.loads(pathlib.Path("mutants", sys.argv[1] + ".meta").read_text())["exit_code_by_key"]
diffs = {name: get_diff_for_mutant(name, path=sys.argv[1]) for name, code in codes.items()}
print(json.dumps([[name, status_by_exit_code[codes[name]], diff] for name, diff in diffs.items()]))
"""


def plain(source: str) -> str:
    """The source with decorators of functions as assignments behind them; a cache would hold what was right before, so it is left out."""
    lines = source.splitlines()
    functions = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef) and node.decorator_list
    ]
    for node in sorted(functions, key=lambda node: -node.lineno):  # from below, so that line numbers stay right
        names = [ast.unparse(decorator) for decorator in node.decorator_list]
        if names == ["classmethod"]:  # which mutmut knows
            continue
        kept = [name for name in names if "cache" not in name]
        lines[node.end_lineno : node.end_lineno] = [
            f"{' ' * node.col_offset}{node.name} = {name}({node.name})" for name in kept
        ]
        del lines[node.decorator_list[0].lineno - 1 : node.lineno - 1]
    return "\n".join(lines) + "\n"


def parts(module: str) -> tuple[str, ...]:
    """Of the project, what the tests of a module need."""
    return ("lib", "tests", "pyproject.toml", *(() if module.startswith("bounds") else ("results", "corpus.lock")))


def copy_project(folder: Path, module: str) -> None:
    """The project as it is, its library in `src`; files that did not change keep their time, by which mutmut knows them."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    for name in listed.stdout.decode().split("\0"):
        if name.split("/")[0] not in parts(module) or not (ROOT / name).is_file():
            continue
        content, target = (ROOT / name).read_bytes(), folder / name.replace("lib/", "src/", 1)
        if name == f"lib/gengap/{module}.py":
            content = plain(content.decode()).encode()
        if name == "pyproject.toml":
            content += configuration(module).encode()
        if not target.exists() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    if not (folder / "lib").exists():
        (folder / "lib").symlink_to("src")


def tests_of(module: str) -> list[str]:
    return TESTS[module].partition(" not ")[0].split()


def arguments(module: str) -> list[str]:
    """Of pytest."""
    slow = TESTS[module].partition(" not ")[2]
    found = ["-p", "no:cacheprovider", "-p", "_hypothesis_pytestplugin", "--hypothesis-seed=0"]
    found += ["-k", f"not ({' or '.join(slow.split())})"] if slow else []
    return found + (["--noconftest"] if module.startswith("bounds") else [])  # whose tests need no project and no torch


def configuration(module: str) -> str:
    settings = {
        "source_paths": ["src"],
        "only_mutate": [f"src/gengap/{module}.py"],
        "also_copy": [name for name in parts(module) if name != "lib"],
        "pytest_add_cli_args_test_selection": tests_of(module),
        "pytest_add_cli_args": arguments(module),
        "timeout_multiplier": 10.0,  # of wall time: others may use the machine too
    }
    return "\n[tool.mutmut]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())


def mutate(environment: Path, folder: Path, module: str, equivalent: set) -> list[tuple[str, str, str]]:
    """(function, status, changed line) of every mutant of a module; those that were left by an earlier run are tried again.

    `equivalent` holds (function, changed line) of those that need no process of their own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    copy_project(folder, module)
    limits = {"OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": "", "GENGAP_ROOT": ""}
    settings = {"cwd": folder, "env": {k: v for k, v in (os.environ | limits).items() if v}, "check": True}
    path = f"src/gengap/{module}.py"

    def report() -> list[list[str]]:
        command = [environment / "bin" / "python", "-c", REPORT, path]
        return json.loads(subprocess.run(command, stdout=subprocess.PIPE, **settings).stdout)

    old = (folder / "mutants" / f"{path}.meta").exists()
    before = {name for name, status, _ in report() if status not in NOTICED} if old else set()
    (folder / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)  # which test reaches what may have changed
    subprocess.run([environment / "bin" / "mutmut", "run", "--max-children", "1"], **settings)
    if again := [name for name, status, _ in report() if status not in NOTICED and name in before]:
        subprocess.run([environment / "bin" / "mutmut", "run", "--max-children", "1", *again], **settings)
    meta = folder / "mutants" / f"{path}.meta"
    known = json.loads(meta.read_text())
    for name, status, diff in report():
        if status not in NOTICED and (function_of(name), changed(diff)) not in equivalent:
            command = [environment / "bin" / "python", "-m", "pytest", "--exitfirst", *arguments(module)]
            alone = settings["env"] | {"MUTANT_UNDER_TEST": name, "PYTHONPATH": "src"}
            tried = subprocess.run(
                [*command, *tests_of(module)], cwd=folder / "mutants", env=alone, stdout=subprocess.DEVNULL, check=False
            )
            known["exit_code_by_key"][name] = int(tried.returncode not in (0, 5))  # 5: no test is left
    meta.write_text(json.dumps(known))
    return [(function_of(name), status, changed(diff)) for name, status, diff in report()]


def function_of(mutant: str) -> str:
    """`Class.method` of "gengap.bounds.x.xǁClassǁmethod__mutmut_3", `function` of "...x_function__mutmut_3"."""
    name = mutant.rpartition(".")[2].rpartition("__mutmut_")[0]
    return name[2:].replace("ǁ", ".") if "ǁ" in name else name[2:]


def changed(diff: str) -> str:
    """The new line of a mutant; with the old one, where that says too little."""
    old, new = (" ".join(line[1:].strip() for line in diff.splitlines()[2:] if line[0] == sign) for sign in "-+")
    return new if len(new) > 12 else f"{old} -> {new}"


def listed_as_equivalent(reasons_of: dict) -> set[tuple[str, str]]:
    """(function, changed line) of those that mutation.toml lists for a module."""
    return {
        (function, line) for function, reasons in reasons_of.items() for lines in reasons.values() for line in lines
    }


def count(module: str, mutants: list[tuple[str, str, str]], listed: set[tuple[str, str]]) -> dict:
    """What mutation.json says of a module."""
    statuses = Counter(NOTICED.get(status, status) for _, status, _ in mutants)
    rest = [(function, line) for function, status, line in mutants if status not in NOTICED]
    for function, line in sorted(listed - set(rest)):
        print(f"{module}: listed as equivalent, but noticed or not made: {function}: {line}")
    left = sorted(f"{function}: {line}" for function, line in rest if (function, line) not in listed)
    return {
        "mutants": len(mutants),
        "killed": statuses["killed"],
        "endless": statuses["endless"],
        "equivalent": len(rest) - len(left),
        "left": len(left),
        "share": round(1 - len(left) / len(mutants), 4),
        "which": left,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("environment", type=Path)
    parser.add_argument("modules", nargs="*", help="ends of their names; default: all")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "gengap-mutation")
    parser.add_argument("--new", action="store_true", help="forget what was noticed before")
    given = parser.parse_args()
    target, equivalent = HERE / "mutation.json", tomllib.loads((HERE / "mutation.toml").read_text())
    found = json.loads(target.read_text())["modules"] if target.exists() else {}
    for module in [m for name in given.modules for m in TESTS if m.endswith(name)] or TESTS:
        folder = given.folder.resolve() / module.replace("/", "-")
        if given.new:
            shutil.rmtree(folder, ignore_errors=True)
        listed = listed_as_equivalent(equivalent.get(module, {}))
        found[module] = count(module, mutate(given.environment.resolve(), folder, module, listed), listed)
        print(module, {name: value for name, value in found[module].items() if name != "which"})
        found = {name: found[name] for name in TESTS if name in found}
        total = {
            name: sum(of[name] for of in found.values())
            for name in ("mutants", "killed", "endless", "equivalent", "left")
        }
        total["share"] = round(1 - total["left"] / total["mutants"], 4)
        target.write_text(json.dumps({"total": total, "modules": found}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
