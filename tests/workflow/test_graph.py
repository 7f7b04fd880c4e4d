"""What a page depends on, through lazy faces too; what a sweep asks of this machine or of a cluster."""

from pathlib import Path

import pytest

from gengap.paths import project_root
from gengap.workflow.graph import limits, modules_behind

LIBRARY = Path("lib", "gengap")


def behind(code: str, folder: Path) -> set[str]:
    """Files below lib/gengap that a page with this code depends on."""
    (page := folder / "page.py").write_text(code, encoding="utf-8")
    return {path.relative_to(LIBRARY).as_posix() for path in modules_behind(page)}


@pytest.mark.parametrize(
    ("code", "within", "without"),
    [
        (
            "from gengap.bounds.theorems import paper_bound",
            "bounds/theorems.py bounds/smoothing.py",
            "bounds/coverage.py",
        ),
        ("from gengap.bounds import paper_bound", "bounds/__init__.py bounds/theorems.py", "bounds/coverage.py"),
        ("from gengap import bounds\nbounds.paper_bound(1)", "bounds/theorems.py", "bounds/coverage.py"),
        ("from gengap import bounds as b\nb.coverage.x", "bounds/coverage.py", "bounds/theorems.py"),
        ("from gengap.bounds import coverage", "bounds/coverage.py", "bounds/theorems.py"),
        ("def f():\n    from gengap.laws import trend", "laws/intervals.py laws/fits.py", "laws/frontier.py"),
        ("import gengap\ngengap.certify(1)", "__init__.py workflow/certify.py models/spec.py", "workflow/survey.py"),
        ("import gengap.laws.fits as f", "laws/fits.py", "laws/intervals.py"),
        ("from gengap.models import get", "models/__init__.py models/pythia.py tokens/pile.py", "workflow/jobs.py"),
        ("import numpy", "", "errors.py"),
    ],
)
def test_a_page_depends_on_what_it_imports_and_on_nothing_else(tmp_path, code, within, without):
    found = behind(code, tmp_path)
    assert set(within.split()) <= found
    assert without not in found


def test_every_file_that_a_chapter_depends_on_exists():
    for page in sorted((project_root() / "notebooks").glob("*.py")):
        found = modules_behind(page)
        assert len(found) > 5
        assert all((project_root() / path).is_file() for path in found), page.name


def test_what_a_method_of_quantization_is_made_of_lies_in_its_package():
    retraining = modules_behind(project_root() / LIBRARY / "compression" / "retraining.py", "gengap.compression")
    assert {path.name for path in retraining} == {"engine.py", "quantized.py"}


def test_limits_are_this_machines_unless_the_jobs_go_elsewhere():
    here = limits(3, -1, ["--dry-run"])
    assert here[here.index("--cores") + 1] == "3"
    assert here[here.index("--retries") + 1] == "0"
    assert any(option.startswith("mem_mb=") for option in here)
    for there in (["--executor", "slurm"], ["--executor=slurm"], ["--profile", "mine"]):
        options = limits(3, -1, there)
        assert "--cores" not in options
        assert "--resources" not in options
        assert options[options.index("--retries") + 1] == "2"
    assert "7" in limits(0, 7, [])
