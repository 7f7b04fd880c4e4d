"""A small site of the book's theme with every interactive figure on a page of its own, from real data."""

import io
import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np
from sphinx.application import Sphinx

from gengap import models
from gengap.book.interactive import frontier, tokens
from gengap.book.interactive.data import FIGURES, make
from gengap.compression import Hypothesis
from gengap.laws import ChinchillaLaw, fit_chinchilla
from gengap.laws.allocation import BoundLaw, QuantizationLaw, VariationLaw
from gengap.records import load_records, load_runs
from gengap.statistics.companion import Companion

ROOT = Path(__file__).parents[2]
VARIATION = VariationLaw(limit=4.0, size_exponent=0.03, floor=0.1, turn=0.02, steepness=0.8)
QUANTIZATION = QuantizationLaw(coefficient=8.0, rate=1.3, size_exponent=0.02, ratio_exponent=0.3)


@cache
def bound_law() -> BoundLaw:
    """The loss law of the published trainings, with laws of Sigma and of quantization that are near those of chapter 12."""
    runs = load_runs(["grid"])
    columns = [
        np.array([run.shape.n_params for run in runs], float),
        np.array([run.n_train_tokens for run in runs], float),
        np.array([run.train.mean for run in runs]),
    ]
    start = ChinchillaLaw(E=0.5, A=70.0, B=400.0, alpha=0.3, beta=0.4)
    return BoundLaw(fit_chinchilla(*columns, start=start), VARIATION, QUANTIZATION, 2048)


def passage() -> dict:
    """What chapter 11 keeps of a passage, of made-up words: a published rung, and an earlier one as its companion."""
    spec = models.get("ladder-50k")
    record = next(r for r in load_records("ladder", "gptq", 4) if r.identity.model_size == spec.model_size)
    hypothesis = Hypothesis.read(spec.find_archive("gptq", 4), "gptq", 4, spec.config())
    companion = Companion("example", (0,), lambda _: spec.load())
    row = np.random.default_rng(0).integers(300, 600, 65)
    texts = ["<b>&amp;", "\n", "    ", '"', *(f" w{token}" for token in row[5:])]
    return tokens.describe(record, hypothesis.build(spec.load()), companion, row, 7, texts, slice(0, 48))


@cache
def kept() -> dict:
    """What notebooks keep, made here."""
    return json.loads(
        json.dumps({"frontier": frontier.describe(bound_law(), load_runs(["grid"])), "token-viewer": passage()})
    )


def build_pages(folder: Path, caption: str = "A caption with *markup*.", names: set[str] | None = None) -> Path:
    """Build the pages below `folder`; where the HTML is."""
    source = folder / "source"
    shutil.copytree(ROOT / "book" / "_static", source / "_static", dirs_exist_ok=True)
    names = names or set(FIGURES)
    for name, content in make(names, kept()).items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name in names:
        (source / f"{name}.md").write_text(f"# {name}\n\n```{{interactive}} {name}\n{caption}\n```\n")
    (source / "index.md").write_text("# Figures\n\n```{toctree}\n" + "\n".join(sorted(names)) + "\n```\n")
    settings = {
        "extensions": ["myst_parser", "sphinx_togglebutton", "interactive"],
        "html_theme": "sphinx_book_theme",
        "html_static_path": ["_static"],
        "html_css_files": ["book.css"],
        "html_favicon": "_static/favicon.svg",
        "html_context": {"default_mode": "auto"},
        "root_doc": "index",
    }
    html = folder / "html"
    app = Sphinx(source, None, html, folder / "doctrees", "html", settings, status=None, warning=io.StringIO())
    app.build()
    assert not app._warning.getvalue(), app._warning.getvalue()
    return html
