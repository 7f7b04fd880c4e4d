"""Whole runs: one model, many models on one machine or a cluster, and what this machine can run."""

import json
import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from gengap import locks
from gengap.cli.app import Bits, ModelSize, QuantizationMethod, Revision, app, complete_revision, complete_size
from gengap.cli.certificates import asked_job, headline, prepared
from gengap.cli.options import PASSED_ON, PassesOn, takes_settings
from gengap.compression.methods import DEFAULT_BITS, DEFAULT_METHOD
from gengap.errors import UserError


@app.command()
@takes_settings
def run(
    model_size: ModelSize,
    revision: Revision = "",
    method: QuantizationMethod = DEFAULT_METHOD,
    bits: Bits = DEFAULT_BITS,
    **settings,
) -> None:
    """Bound one model by executing the page on the bound of one model: its record and its page.

    Quantizes the checkpoint unless that is done.
    """
    from gengap.book import notebooks
    from gengap.records.bound import BoundRecord
    from gengap.workflow.settings import Settings

    asked = Settings(**settings)
    job = asked_job(model_size, revision, method, bits, asked)
    settings |= {"model_size": model_size, "revision": job.spec.revision, "method": method, "bits": bits}
    page = notebooks.executed_page(job)
    with locks.writing(job.record):
        prepared(job)
        notebooks.execute(notebooks.chapter_path(), page, settings)
    print(headline(BoundRecord.read(job.record)))
    print(f"record: {job.record}\npage:   {page}")


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
            help="Of those sizes that have it: stepN, 4x; repeat for several (default: the compute-optimal one).",
            autocompletion=complete_revision,
        ),
    ] = [],
    method: Annotated[list[str], typer.Option(help="Quantizer; repeat for several.")] = [],
    bits: Annotated[list[int], typer.Option(help="Per quantized weight; repeat for several.")] = [],
    cores: Annotated[int, typer.Option(min=0, help="Of this machine, for all jobs together; 0: all of them.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="Of one job of Pythia; 0: all cores of this machine.")] = 0,
    gpus: Annotated[
        int,
        typer.Option(min=-1, help="Asked for by each job of Pythia; -1: 1 if this machine has any. A rung takes none."),
    ] = -1,
    retries: Annotated[
        int, typer.Option(min=-1, help="Of a failed job; -1: 2 on a cluster, none on this machine.")
    ] = -1,
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

    certificate = Settings(**settings)
    asked = jobs.expand(model_sizes, revision, method, bits)
    for job in asked:
        certificate.check_rows(job.spec.n_train_rows)
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
    as_json: Annotated[bool, typer.Option("--json", help="Print the gaps of each record instead, as a list.")] = False,
) -> None:
    """Compare any records on one page, or as a list of their gaps over the training loss.

    Losses, bounds and their terms, against size and along training. Records of other kinds are left out.
    """
    from gengap.book import report
    from gengap.paths import build_dir
    from gengap.records.gaps import gaps

    bounds, others = report.told_apart(records)
    if as_json:
        if output:
            raise UserError("--json prints: leave --output out, or send what is printed to a file")
        print(json.dumps(gaps(report.chosen(bounds)), indent=1))
        return
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


@app.command()
def sizes() -> None:
    """List the model sizes."""
    from gengap.models import REGISTRY

    print(f"{'model size':<21}{'parameters':>14}{'tokens':>18}{'layers':>8}{'width':>7}  checkpoint")
    for name, spec in REGISTRY.items():
        print(
            f"{name:<21}{spec.n_params:>14,}{spec.n_train_tokens:>18,}{spec.n_layers:>8}{spec.hidden_size:>7}"
            f"  {spec.revision}"
        )


@app.command()
def doctor(timeout_s: float = 3.0) -> None:
    """Say what this machine can run, and what is missing."""
    from gengap.workflow import doctor

    if not 0 < timeout_s < math.inf:
        raise UserError(f"timeout_s = {timeout_s}: choose a number of seconds above 0")
    for finding in doctor.examine(timeout_s):
        print(f"{'ok  ' if finding.fine else 'note'} {finding.name:<13} {finding.what}")
        if not finding.fine:
            print(f"{'':18} -> {finding.next_step}")
