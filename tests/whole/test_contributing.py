"""CONTRIBUTING.md is true: its files exist, and who touches those that it names for a family, a quantizer or a chapter is done."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import scratch
from scratch import CHECKOUT, environment_of, make_root

from gengap.workflow.graph import command

TEXT = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")
WALKS = {title: walk for title, _, walk in (part.partition("\n") for part in TEXT.split("\n## "))}
DRY = ("--dry-run", "--printshellcmds", "--quiet", "host")  # of Snakemake: say what every job would do


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} in {path.name}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def inputs(planned: subprocess.CompletedProcess, output: str) -> list[str]:
    """What the job that makes `output` reads, from a dry run of the graph."""
    assert planned.returncode == 0, planned.stderr
    jobs = re.findall(r"^ +input: (.*)\n +output: (.*)$", planned.stdout + planned.stderr, re.MULTILINE)
    [found] = {read for read, made in jobs if output in made.split(", ")}
    return found.split(", ")


@pytest.fixture
def root(tmp_path):
    return make_root(tmp_path / "root")


def test_every_file_it_names_exists():
    named = [
        name
        for name in re.findall(r"`([\w./-]+)`", TEXT)
        if ("/" in name.strip("/") or Path(name).suffix in (".md", ".yml", ".toml")) and not name.startswith(".venv/")
    ]
    assert len(set(named)) > 15
    assert {name for name in named if not (CHECKOUT / name).exists()} == {"notebooks/NN_name.py"}


@pytest.mark.parametrize(("what", "limit"), [("bound", 5), ("family", 3), ("quantizer", 2), ("chapter", 2)])
def test_few_files_have_to_be_opened(what, limit):
    files = re.findall(r"^\| `(.+?)` \|", WALKS[f"Another {what}"], re.MULTILINE)
    assert 2 <= len(files) <= limit


def test_ci_runs_the_commands_of_the_readme():
    [commands] = re.findall(
        r"^```bash\n(make book.*?)```", (CHECKOUT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    of_readme, of_ci = (
        re.findall(r"^make .*?(?=\s+#|$)", text, re.MULTILINE)
        for text in (commands, (CHECKOUT / ".ci/run").read_text())
    )
    assert len(of_readme) == 3
    assert sorted(of_ci) == sorted(of_readme)


def test_a_family_takes_a_file_and_its_name_in_the_registry(root):
    [family] = re.findall(r"```python\n(.*?)```", WALKS["Another family"], re.DOTALL)
    models = root / "lib" / "gengap" / "models"
    (models / "mine.py").write_text(family, encoding="utf-8")
    edit(models / "__init__.py", "import dictionary, ", "import dictionary, mine, ")
    edit(models / "__init__.py", "FAMILIES = (", "FAMILIES = (mine.MODELS, ")
    listed = scratch.gengap(root, "sizes")
    assert re.search(r"^mine-30m +\d\d,\d{3},\d{3} +512,000,000 ", listed.stdout, re.MULTILINE), listed.stderr
    planned = scratch.gengap(root, "sweep", "mine-30m", "ladder-50k", "--", *DRY)
    assert planned.returncode == 0, planned.stderr
    said = planned.stdout + planned.stderr
    for step in ("quantize", "run"):
        assert f"gengap.cli {step} mine-30m --revision main --method gptq --bits 4" in said
    assert "gengap.cli train ladder-50k" in said
    assert "gengap.cli train mine-30m" not in said
    kept = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=root, env=environment_of(root), check=False
    )
    assert kept.returncode == 0


QUANTIZER = '''"""Rounding with four times as many weights to a scale."""

from gengap.compression.layerwise import quantize


def coarse(of, bits):
    return quantize(of.model, "rtn", bits, 4 * of.group_size, of.rows[:1][:, :-1], of.seed)
'''
IN_THE_TABLE = """

def _coarse(of, bits):
    from gengap.compression.coarse import coarse

    return coarse(of, bits)


METHODS: dict[str, Method] = {
    "coarse": Method("coarse rounding", _coarse, ("coarse",), looks_at_data=False),"""
USE = """
from dataclasses import replace
import gengap, numpy as np
from gengap.records.survey import SurveySettings
from gengap.workflow.survey import wanted
from transformers import GPTNeoXForCausalLM
model = GPTNeoXForCausalLM(replace(gengap.get("ladder-50k"), vocab_size=64, seq_len=16).config()).eval()
rows = np.random.default_rng(0).integers(64, size=(20, 17))
lengths = [gengap.compress(model, rows, method, 3).code_length_bits["archive"] for method in ("coarse", "rtn")]
print(lengths[0] < lengths[1], ("coarse", 3) in wanted(SurveySettings()))
"""


def test_a_quantizer_takes_a_file_and_a_line_in_the_table(root):
    compression = root / "lib" / "gengap" / "compression"
    (compression / "coarse.py").write_text(QUANTIZER, encoding="utf-8")
    edit(compression / "methods.py", "\nMETHODS: dict[str, Method] = {", IN_THE_TABLE)
    used = subprocess.run(
        [sys.executable, "-c", USE], env=environment_of(root), capture_output=True, text=True, check=False
    )
    assert used.stdout == "True True\n", used.stderr
    assert "coarse" in scratch.gengap(root, "run", "--help", COLUMNS="200").stdout
    planned = scratch.gengap(root, "sweep", "ladder-50k", "--method", "coarse", "--bits", "3", "--", *DRY)
    assert "lib/gengap/compression/coarse.py" in inputs(planned, "build/results/ladder/50k/main-coarse-3bit.ggq")


CHAPTER = """# %% [markdown]
# # A page

# %% tags=["parameters"]
n: int = 3  # things

# %%
from gengap.units import nats_from_bits

print(nats_from_bits(n))
"""


def test_a_chapter_takes_a_page_and_a_line_in_the_table_of_contents(root, monkeypatch):
    (root / "notebooks" / "10_more.py").write_text(CHAPTER, encoding="utf-8")
    edit(
        root / "_toc.yml",
        "      - file: notebooks/08_beyond\n",
        "      - file: notebooks/08_beyond\n      - file: notebooks/10_more\n",
    )
    assert "wrote 10_more.ipynb" in scratch.gengap(root, "sync").stdout
    monkeypatch.setenv("GENGAP_ROOT", str(root))
    book = command("book", {}, ["--cores", "1", *DRY])
    planned = subprocess.run(book, env=environment_of(root), capture_output=True, text=True, check=False)
    behind = inputs(planned, "build/notebooks/10_more.ipynb")
    assert "lib/gengap/units.py" in behind
    assert "lib/gengap/bounds/theorems.py" not in behind
    assert "build/notebooks/10_more.ipynb" in inputs(planned, "build/staged")
