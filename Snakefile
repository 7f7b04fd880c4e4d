# The graph: corpus -> train -> quantize -> bound -> pages -> book, one job per model, revision and quantization.
# `make book` and `make sweep` run it (through gengap.workflow.graph). Rules call the command line of the library; every step writes
# atomically, so that what a kill leaves is not taken for done.
import hashlib
import re
import sys
from dataclasses import asdict
from pathlib import Path

from gengap import models
from gengap.book.notebooks import CHAPTER, keep_code
from gengap.book.site import read_toc, toc_pages
from gengap.compression.methods import METHODS
from gengap.models.spec import quantized_name
from gengap.records.survey import place_of
from gengap.workflow import graph, jobs

PYTHON = sys.executable  # its scripts would not start in a folder with a $ in its name
BOOK, SHORTEST = jobs.book_jobs(), jobs.shortest_jobs()
SURVEYS = [f"build/results/{place_of(models.get(jobs.SURVEYED))}"]  # of chapter 16; those of larger rungs are published
SNAPSHOTS = ["build/results/ladder/50k/snapshots/step-0000000.safetensors"]  # the first of many
WITH_SNAPSHOTS = ["11_companion", "17_critics"]  # pages that need them
PER_SIZE = ["00_ladder", CHAPTER]  # notebooks that are run for each model
PAGES = [name for page in toc_pages(read_toc(Path())) for where, _, name in [page.partition("/")] if where == "notebooks"]
PAGES = [name for name in PAGES if name not in PER_SIZE]
EXECUTE = "{PYTHON:q} -m gengap.cli notebook notebooks/{wildcards.page}.ipynb {output:q}"
# What a page calls that reads records or models of this machine: it waits for all of them.
READS_RESULTS = re.compile(r"load_(records|surveys|runs)|\.find\(|\.load\(\)")
OF_RESULTS = [page for page in PAGES if READS_RESULTS.search(Path(f"notebooks/{page}.py").read_text(encoding="utf-8"))]
OF_RESULTS += [page for page in WITH_SNAPSHOTS if page not in OF_RESULTS]
LIBRARY = sorted(Path("lib/gengap").rglob("*.py"))
for source in Path("notebooks").glob("*.py"):  # prose does not count: a run depends on the code cells alone
    keep_code(source, Path("build/code") / source.name)
NAME = quantized_name("{revision}", "{method}", "{bits}")
QUANTIZED = "build/results/{family}/{size}/" + NAME
EXECUTED = f"build/notebooks/{CHAPTER}/{{family}}-{{size}}/{NAME}.ipynb"
SETTINGS = str(config.get("settings", "")).split()  # of the chapter, name=value
MEMORY_MB = jobs.default_job(models.DEFAULT_LADDER[0]).memory_mb  # of the steps of a rung
METHODS_ROOMS = {room for method in METHODS.values() for room in method.rooms}
GPUS, THREADS = int(config.get("gpus", 0)), int(config.get("threads", 1))  # of each job that uses them


def behind(page):
    """The library's modules that the page's numbers depend on: an edit elsewhere runs no notebook again."""
    return [str(path) for path in graph.modules_behind(Path(f"notebooks/{page}.py"))]


def rooms(*names):
    """Modules of the compression package that some of them are made of: what a file of codes depends on."""
    found = {p for name in names for p in graph.modules_behind(Path(f"lib/gengap/compression/{name}.py"), "gengap.compression")}
    return sorted({str(p) for p in found} | {f"lib/gengap/compression/{name}.py" for name in names})


def words(name):
    return str(config.get(name, "")).split()


def files(pattern, of_jobs):
    return [
        pattern.format(**vars(j.spec), revision=j.spec.revision, method=j.method, bits=j.bits) for j in of_jobs
    ]


def job(wildcards):
    spec = models.get(f"{wildcards.family}-{wildcards.size}", wildcards.revision)
    return jobs.Job(spec, wildcards.method, int(wildcards.bits))


def swept(wildcards):
    return files(EXECUTED, jobs.expand(words("models"), words("revisions"), words("methods"), map(int, words("bits"))))


def checkpoint(wildcards):
    """Of a model that is trained here: this machine's, or the published one. Others are read where they lie, on a disk or the hub."""
    spec = models.get(f"{wildcards.family}-{wildcards.size}", wildcards.get("revision", ""))
    if not spec.trained_here:
        return []
    here = f"build/results/{spec.family}/{spec.size}/{spec.checkpoint_name}/model.safetensors"
    published = here.removeprefix("build/")
    trained_here = (spec.model_size in models.DEFAULT_LADDER and spec.length == 1) or Path(here).exists()
    return published if Path(published).exists() and not trained_here else here


def other_records(wildcards):
    """A digest of all records but the book's own, for the pages that show them all: a new one makes the page run again."""
    code = Path(f"notebooks/{wildcards.page}.py").read_text(encoding="utf-8")
    kinds = {"*bit": "load_records", "*-quantization": "load_surveys", "runs/*": "load_runs"}
    shown = [kind for kind, load in kinds.items() if load in code]
    own = {*files(f"{QUANTIZED}.json", BOOK + SHORTEST), *SURVEYS}
    bases = "results", "build/results"
    found = [p for kind in shown for base in bases for p in sorted(Path(base).glob(f"*/*/{kind}.json"))]
    return hashlib.sha256(b"".join(p.read_bytes() for p in found if str(p) not in own)).hexdigest()


wildcard_constraints:
    family=r"[a-z][a-z-]*",
    size=r"[0-9.]+[kmb]",
    revision=r"[a-z]+\d*|[0-9.]+x",
    method=r"[a-z]+",
    bits=r"\d",
    text="corpus|dictionary",


localrules: book, sweep, stage,


rule book:
    input: "_build/html/index.html",


rule sweep:
    input: swept,


rule corpus:
    input: "{text}.lock",
    output: "build/{text}/manifest.json",
    threads: 2
    resources: mem_mb=MEMORY_MB, runtime=60,
    shell: "{PYTHON:q} -m gengap.cli corpus {wildcards.text}"


rule train:
    input: lambda w: f"build/{models.get(f'{w.family}-{w.size}').text.name}/manifest.json",
    params: spec=lambda w: asdict(models.get(f"{w.family}-{w.size}")),
    output:
        "build/results/{family}/{size}/loss_log.csv",
        "build/results/{family}/{size}/checkpoint/model.safetensors",
        "build/results/{family}/{size}/snapshots/step-0000000.safetensors",
    resources: mem_mb=MEMORY_MB, runtime=24 * 60,
    shell: "{PYTHON:q} -m gengap.cli train {wildcards.family}-{wildcards.size} --snapshots"


rule train_length:  # a rung off the frontier
    input: "build/corpus/manifest.json",
    params: spec=lambda w: asdict(models.get(f"{w.family}-{w.size}", w.revision)),
    output: "build/results/{family}/{size}/runs/grid-{revision}/checkpoint/model.safetensors",
    resources: mem_mb=MEMORY_MB, runtime=24 * 60,
    shell: "{PYTHON:q} -m gengap.cli train {wildcards.family}-{wildcards.size} --revision {wildcards.revision}"


rule quantize:
    input:
        checkpoint,
        lambda w: rooms("archive", *METHODS[w.method].rooms),
    output: f"{QUANTIZED}.ggq",
    group: "model"  # on a cluster, quantization and bound of a model are one job
    threads: lambda w: THREADS if job(w).spec.uses_gpu else 1
    resources:
        mem_mb=lambda w, attempt: attempt * job(w).memory_mb,
        runtime=lambda w: job(w).minutes(GPUS),
        gpu=lambda w: GPUS if job(w).spec.uses_gpu else 0,
    shell:
        "{PYTHON:q} -m gengap.cli quantize {wildcards.family}-{wildcards.size} --revision {wildcards.revision}"
        " --method {wildcards.method} --bits {wildcards.bits}"


rule ladder:
    input: "build/code/00_ladder.py", rules.train.output,
    output: "build/notebooks/00_ladder/{family}-{size}.ipynb",
    shell: "{PYTHON:q} -m gengap.cli notebook notebooks/00_ladder.ipynb {output:q} -p model_size={wildcards.family}-{wildcards.size}"


rule survey:
    input: checkpoint, rooms("archive", "curvature", *METHODS_ROOMS), "lib/gengap/workflow/survey.py", "lib/gengap/records/survey.py",
    output: "build/results/{family}/{size}/main-quantization.json",
    resources: mem_mb=MEMORY_MB, runtime=120,
    shell: "{PYTHON:q} -m gengap.cli survey {wildcards.family}-{wildcards.size}"


rule bound:
    input: f"build/code/{CHAPTER}.py", checkpoint, rules.quantize.output, behind(CHAPTER),
    output: EXECUTED, f"{QUANTIZED}.json",
    params: settings="".join(f" --{name.replace('_', '-')} {value}" for name, _, value in (s.partition("=") for s in SETTINGS)),
    group: "model"
    threads: lambda w: THREADS if job(w).spec.uses_gpu else 1
    resources:
        mem_mb=lambda w, attempt: attempt * job(w).memory_mb,
        runtime=lambda w: job(w).minutes(GPUS),
        gpu=lambda w: GPUS if job(w).spec.uses_gpu else 0,
    shell:
        "{PYTHON:q} -m gengap.cli run {wildcards.family}-{wildcards.size} --revision {wildcards.revision}"
        " --method {wildcards.method} --bits {wildcards.bits}{params.settings}"


rule page:
    input:
        "build/code/{page}.py",
        lambda w: behind(w.page),
        files(f"{QUANTIZED}.json", BOOK + SHORTEST),
        files(f"{QUANTIZED}.ggq", BOOK + SHORTEST),
        lambda w: SURVEYS if w.page == "16_shorter_codes" else [],
        lambda w: SNAPSHOTS if w.page in WITH_SNAPSHOTS else [],
    params: records=other_records,
    output: "build/notebooks/{page}.ipynb",
    wildcard_constraints: page="|".join(OF_RESULTS) or "none",
    shell: EXECUTE


rule lone_page:  # needs nothing that is made here but the text: for cores that would wait
    input: "build/code/{page}.py", lambda w: behind(w.page), "build/corpus/manifest.json",
    output: "build/notebooks/{page}.ipynb",
    priority: -1
    wildcard_constraints: page="|".join(page for page in PAGES if page not in OF_RESULTS) or "none",
    shell: EXECUTE


rule stage:
    input:
        [f"build/notebooks/{page}.ipynb" for page in PAGES],
        files("build/notebooks/00_ladder/{family}-{size}.ipynb", BOOK),
        files(EXECUTED, BOOK),
        [p for p in Path("notebooks").glob("*") if p.suffix in (".py", ".ipynb")],
        [p for p in Path("book").rglob("*") if p.is_file() and "__pycache__" not in p.parts],
        Path("results").rglob("*.json"),
        files(f"{QUANTIZED}.json", BOOK),
        "_config.yml", "_toc.yml", LIBRARY,
    output: touch("build/staged"),
    shell: "{PYTHON:q} -m gengap.cli site stage"


rule html:
    input: "build/staged",
    output: "_build/html/index.html",
    shell: "{PYTHON:q} -m gengap.cli site build && {PYTHON:q} book/_ext/htmlcheck.py"
