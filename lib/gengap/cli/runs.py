"""Whole runs: one model, many models on one machine or a cluster, and what this machine can run."""

import math
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gengap.cli.app import (
    Bits,
    ExactBelow,
    ModelSize,
    QuantizationMethod,
    Revision,
    app,
    complete_revision,
    complete_size,
)
from gengap.cli.options import PASSED_ON, PassesOn, takes_settings
from gengap.compression.methods import DEFAULT_BITS, DEFAULT_METHOD

if TYPE_CHECKING:
    from gengap.records.bound import BoundRecord
    from gengap.workflow.jobs import Job


@app.command()
@takes_settings
def certify(
    model_size: ModelSize,
    revision: Revision = "",
    method: QuantizationMethod = DEFAULT_METHOD,
    bits: Bits = DEFAULT_BITS,
    **settings,
) -> None:
    """Bound one model and write its record: the number without the page.

    Quantizes the checkpoint unless that is done.
    """
    from gengap.workflow.settings import Settings

    asked = Settings(**settings)  # first of all: what cannot be is refused before any work
    job = _prepared(model_size, revision, method, bits)
    from gengap.workflow.certify import certify_spec, store_of

    record = certify_spec(job.spec, method, bits, asked)
    path = record.write()
    shutil.rmtree(store_of(job.spec, method, bits), ignore_errors=True)
    print(headline(record))
    print(f"record: {path}")


@app.command()
@takes_settings
def run(
    model_size: ModelSize,
    revision: Revision = "",
    method: QuantizationMethod = DEFAULT_METHOD,
    bits: Bits = DEFAULT_BITS,
    exact_below_tokens: ExactBelow = None,
    **settings,
) -> None:
    """Bound one model by executing chapter 05: its record and its page.

    Quantizes the checkpoint unless that is done.
    """
    from gengap.book import notebooks
    from gengap.records.bound import BoundRecord
    from gengap.workflow.settings import Settings

    Settings(**settings)
    if exact_below_tokens is not None:
        settings["exact_below_tokens"] = exact_below_tokens
    job = _prepared(model_size, revision, method, bits)
    settings |= {"model_size": model_size, "revision": job.spec.revision, "method": method, "bits": bits}
    page = notebooks.executed_page(job)
    notebooks.execute(notebooks.chapter_path(), page, settings)
    print(headline(BoundRecord.read(job.record)))
    print(f"record: {job.record}\npage:   {page}")


def _prepared(model_size: str, revision: str, method: str, bits: int) -> "Job":
    """The job, with its archive there."""
    from gengap import models
    from gengap.cli import steps
    from gengap.compression.methods import check
    from gengap.workflow.jobs import Job

    job = Job(models.get(model_size, revision), method, bits)
    check(method, bits)
    if job.archive is None:
        steps.quantize(model_size, method, bits, revision=job.spec.revision)
    return job


@app.command(cls=PassesOn)
@takes_settings
def sweep(
    ctx: typer.Context,
    model_sizes: Annotated[
        list[str], typer.Argument(help="Model sizes (`gengap sizes`).", autocompletion=complete_size)
    ],
    revision: Annotated[
        list[str],
        typer.Option(
            help="Of Pythia; repeat for several (default: the compute-optimal one).", autocompletion=complete_revision
        ),
    ] = [],
    method: Annotated[list[str], typer.Option(help="Quantizer; repeat for several.")] = [],
    bits: Annotated[list[int], typer.Option(help="Per quantized weight; repeat for several.")] = [],
    cores: Annotated[int, typer.Option(help="Of this machine, for all jobs together; 0: all of them.")] = 0,
    threads: Annotated[int, typer.Option(help="Of one job of Pythia; 0: all cores of this machine.")] = 0,
    gpus: Annotated[
        int, typer.Option(help="Asked for by each job of Pythia; -1: 1 if this machine has any. A rung takes none.")
    ] = -1,
    retries: Annotated[int, typer.Option(help="Of a failed job; -1: 2 on a cluster, none on this machine.")] = -1,
    exact_below_tokens: ExactBelow = None,
    **settings,
) -> None:
    """Bound every combination of sizes, revisions, methods and bits.

    One job each. What is done already is not done again. Options after `--` go to Snakemake, such as `-- --executor slurm --jobs 20`.
    """
    from gengap import hardware
    from gengap.book import notebooks
    from gengap.records.bound import BoundRecord, same_weights
    from gengap.workflow import graph, jobs
    from gengap.workflow.settings import Settings

    Settings(**settings)
    if exact_below_tokens is not None:
        settings["exact_below_tokens"] = exact_below_tokens
    asked = jobs.expand(model_sizes, revision, method, bits)
    gpus = hardware.has_gpu() if gpus < 0 else gpus
    passed_on = ctx.meta.get(PASSED_ON, [])
    config = {
        "models": " ".join(model_sizes),
        "revisions": " ".join(revision),
        "methods": " ".join(method),
        "bits": " ".join(map(str, bits)),
        "settings": " ".join(f"{name}={value}" for name, value in settings.items()),
        "gpus": str(int(gpus)),
        "threads": str(threads or hardware.n_cores()),
    }
    again = {job: said for job in asked if (said := notebooks.made_otherwise(job, settings))}
    for job, said in again.items():
        print(f"{job.title}: made with {said}: made again", file=sys.stderr)
    options = graph.made_again([notebooks.executed_page(job) for job in again])
    status = graph.run("sweep", config, options + graph.limits(cores, retries, passed_on) + passed_on)
    done = []
    for job in asked:
        if not (notebooks.executed_page(job).exists() and job.record.exists()):
            print(f"{job.title}: no record")
        elif said := notebooks.made_otherwise(job, settings):
            print(f"{job.title}: no record with these settings ({said})")
        else:
            done.append(BoundRecord.read(job.record))
            print(headline(done[-1]))
    for said in same_weights(done):
        print(f"note: {said}")
    raise typer.Exit(status)


@app.command()
def report(
    records: Annotated[list[Path], typer.Argument(help="Record files (default: all there are).")] = [],
    output: Annotated[Path | None, typer.Option(help="The HTML file (default: build/report.html).")] = None,
) -> None:
    """Compare any records on one page.

    Losses, bounds and their terms, against size and along training. Records of other kinds are left out.
    """
    from gengap.book import report
    from gengap.paths import build_dir

    bounds, others = report.told_apart(records)
    for said in others:
        print(f"left out: {said}")
    print(f"report: {report.write(bounds, output or build_dir() / 'report.html')}")


@app.command()
def forecast(
    model_sizes: Annotated[
        list[str], typer.Argument(help="Sizes of one family, not run yet.", autocompletion=complete_size)
    ],
    method: Annotated[str, typer.Option(help="Quantizer of the records to learn from.")] = DEFAULT_METHOD,
    bits: Annotated[int, typer.Option(help="Per quantized weight.")] = DEFAULT_BITS,
) -> None:
    """State beforehand what the records so far say of larger models.

    Writes a file in results/, once, to be committed.
    """
    from gengap.records.forecast import Forecast, state_forecast

    path = state_forecast(model_sizes, method, bits)
    for p in Forecast.read(path).predictions:
        print(f"{p.size:<6}{p.quantity:<15}{p.value:.3f}, {p.low:.3f} to {p.high:.3f} nats/token")
    print(f"forecast: {path}")


def headline(record: "BoundRecord") -> str:
    """What a run came to, in one line."""
    from gengap.models.spec import quantized_name

    nominal, archive = record.bounds["nominal"], record.bounds["archive"]
    name = quantized_name(record.identity.revision, record.quantization.method, record.quantization.bits)
    mark = f"arithmetic, no certificate ({record.not_certified}): " if record.not_certified else ""
    return (
        f"{record.identity.model_size}/{name}: {mark}loss {record.risks.train.mean:.3f}, "
        f"bound {nominal.paper.value:.3f} (paper), {nominal.tight.value:.3f} (ours), "
        f"{archive.tight.value:.3f} (ours, archive), guessing {math.log(record.identity.vocab_size):.3f} nats/token"
    )


@app.command()
def sizes() -> None:
    """List the model sizes."""
    from gengap.models import REGISTRY

    print(f"{'model size':<20}{'parameters':>15}{'tokens':>18}{'layers':>8}{'width':>7}  checkpoint")
    for name, spec in REGISTRY.items():
        print(
            f"{name:<20}{spec.n_params:>15,}{spec.n_train_tokens:>18,}{spec.n_layers:>8}{spec.hidden_size:>7}"
            f"  {spec.revision}"
        )


@app.command()
def doctor(timeout_s: float = 3.0) -> None:
    """Say what this machine can run, and what is missing."""
    from gengap.workflow import doctor

    for finding in doctor.examine(timeout_s):
        print(f"{'ok  ' if finding.fine else 'note'} {finding.name:<13} {finding.what}")
        if not finding.fine:
            print(f"{'':18} -> {finding.next_step}")
