# The graph: corpus -> train -> quantize -> bound -> pages -> book, one job per model size. `make book`, `make sweep`.
# Rules call the command line of the library; every step writes atomically, so that what a kill leaves is not taken for done.
import sys
from dataclasses import asdict
from pathlib import Path

from gengap import models, training

GENGAP = Path(sys.executable).with_name("gengap")
SIZES = config["models"].split() if config.get("models") else list(models.DEFAULT_LADDER)
for size in SIZES:
    models.get(size)  # refuse an unknown size before anything runs
PAGES = ["01_freedman", "02_smoothing", "03_quantization", "06_scale", "08_beyond"]
PAGES_PER_SIZE = ["00_ladder", "05_bound"]
METHOD, BITS = "gptq", 4
LIBRARY = [p for p in Path("lib/gengap").glob("*.py") if p.name not in ("site.py", "site_check.py", "pages.py", "cli.py")]
QUANTIZED = f"build/results/{{family}}/{{size}}/main-{METHOD}-{BITS}bit"


def of_size(pattern, sizes):
    return [pattern.format(family=models.get(s).family, size=models.get(s).size) for s in sizes]


wildcard_constraints:
    family=r"[a-z]+",
    size=r"[0-9.]+[kmb]",


localrules: book, sweep, code, stage,


rule book:
    input: "_build/html/index.html",


rule sweep:
    input: of_size("build/notebooks/05_bound/{family}-{size}.ipynb", SIZES),


rule corpus:
    input: "corpus.lock",
    output: "build/corpus/manifest.json",
    threads: 2
    shell: "{GENGAP} corpus"


rule train:
    input: "build/corpus/manifest.json",
    params: spec=lambda w: asdict(models.get(f"{w.family}-{w.size}")),
    output: "build/results/{family}/{size}/loss_log.csv", "build/results/{family}/{size}/checkpoint/model.safetensors",
    threads: lambda w: training.n_threads(models.get(f"{w.family}-{w.size}"))
    shell: "{GENGAP} train {wildcards.family}-{wildcards.size}"


rule quantize:
    input:
        "build/results/{family}/{size}/checkpoint/model.safetensors",
        [f"lib/gengap/{room}.py" for room in ("quantization", "quantizers", "archive", "symbols")],
    output: f"{QUANTIZED}.ggq",
    shell: f"{{GENGAP}} quantize {{wildcards.family}}-{{wildcards.size}} --method {METHOD} --bits {BITS}"


rule code:  # prose does not count: a run depends on the code cells alone (small files are compared by content)
    input: "notebooks/{page}.py",
    output: "build/code/{page}.py",
    run:
        from gengap import notebooks
        Path(output[0]).write_text(notebooks.code_of(Path(input[0])))


rule ladder:
    input: "build/code/00_ladder.py", rules.train.output,
    output: "build/notebooks/00_ladder/{family}-{size}.ipynb",
    shell: "{GENGAP} notebook notebooks/00_ladder.ipynb {output} -p model_size={wildcards.family}-{wildcards.size}"


rule bound:
    input: "build/code/05_bound.py", rules.train.output, rules.quantize.output, LIBRARY,
    output: "build/notebooks/05_bound/{family}-{size}.ipynb", f"{QUANTIZED}.json",
    shell: "{GENGAP} notebook notebooks/05_bound.ipynb {output[0]} -p model_size={wildcards.family}-{wildcards.size}"


rule page:
    input:
        "build/code/{page}.py",
        LIBRARY,
        of_size(f"{QUANTIZED}.json", SIZES),
        of_size(f"{QUANTIZED}.ggq", SIZES),
    output: "build/notebooks/{page}.ipynb",
    wildcard_constraints: page="|".join(PAGES),
    shell: "{GENGAP} notebook notebooks/{wildcards.page}.ipynb {output}"


rule stage:
    input:
        [f"build/notebooks/{page}.ipynb" for page in PAGES],
        of_size("build/notebooks/00_ladder/{family}-{size}.ipynb", SIZES),
        of_size("build/notebooks/05_bound/{family}-{size}.ipynb", SIZES),
        [p for p in Path("notebooks").glob("*") if p.suffix in (".py", ".ipynb")],
        [p for p in Path("book").rglob("*") if p.is_file() and "__pycache__" not in p.parts],
        Path("results").rglob("*.json"),
        of_size(f"{QUANTIZED}.json", SIZES),
        "_config.yml", "_toc.yml", "lib/gengap/site.py", "lib/gengap/pages.py", LIBRARY,
    output: touch("build/staged"),
    shell: "{GENGAP} site stage"


rule html:
    input: "build/staged", "lib/gengap/site_check.py",
    output: "_build/html/index.html",
    shell: "{GENGAP} site build && {GENGAP} site check"
