"""The main job as a command: a model and its training rows go in, the certified number comes out."""

import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gengap import locks
from gengap.cli.app import Bits, QuantizationMethod, app, complete_size
from gengap.cli.options import takes_settings
from gengap.compression.methods import DEFAULT_BITS, DEFAULT_METHOD, check
from gengap.errors import UserError

if TYPE_CHECKING:
    from gengap.records.bound import BoundRecord
    from gengap.workflow.jobs import Job
    from gengap.workflow.settings import Settings

OWN = "A model of your own"


def of_own(what: str, **more: Any) -> Any:
    """An option for models that are in no registry."""
    return typer.Option(help=what, rich_help_panel=OWN, **more)


Rows = Annotated[
    str | None,
    of_own("What it was trained on: .bin of nanoGPT or Megatron, .npy, .jsonl, .parquet, .txt, a folder or pattern."),
]
HeldOut = Annotated[str | None, of_own("Rows that it was not trained on, in the same form.")]
SeqLen = Annotated[int | None, of_own("Predicted tokens in a row; for flat tokens and text.", min=1)]
DType = Annotated[str | None, of_own("Of a flat .bin, if it cannot be told: uint16 or uint32.")]
Column = Annotated[str | None, of_own("That holds the text (default: text).")]


def reading(**options: Any) -> dict[str, Any]:
    """Those that were given."""
    return {option: value for option, value in options.items() if value is not None}


@app.command()
@takes_settings
def certify(
    model: Annotated[
        str,
        typer.Argument(
            help="A size of the book (`gengap sizes`), the folder of a checkpoint, or a repository of the hub.",
            autocompletion=complete_size,
        ),
    ],
    rows: Rows = None,
    heldout: HeldOut = None,
    seq_len: SeqLen = None,
    dtype: DType = None,
    column: Column = None,
    n_train_tokens: Annotated[
        int | None, of_own("Tokens that it was trained on, each reading counted (default: those of the rows).", min=1)
    ] = None,
    not_training_rows: Annotated[
        bool, of_own("The rows are other text: the record is arithmetic, marked so, and no certificate.")
    ] = False,
    name: Annotated[str, of_own("In records and figures (default: that of the folder).")] = "",
    revision: Annotated[
        str, typer.Option(help="A released checkpoint, such as Pythia's stepN; a branch, tag or commit of the hub.")
    ] = "",
    method: QuantizationMethod = DEFAULT_METHOD,
    bits: Bits = DEFAULT_BITS,
    **settings,
) -> None:
    """Bound one model and write its record: the number without the page.

    A model of the book is quantized unless that is done. A model of your own is a folder in the hub's layout and the rows it was
    trained on: `gengap certify my-model --rows train.bin --seq-len 1024`.
    """
    from gengap import models
    from gengap.workflow.settings import Settings

    asked = Settings(**settings)  # first of all: what cannot be is refused before any work
    check(method, bits)
    how = reading(seq_len=seq_len, dtype=dtype, column=column)
    if model in models.REGISTRY:
        if rows or heldout or n_train_tokens or not_training_rows or name or how:
            raise UserError(f"{model} has its own rows and name: leave out the options of {OWN.lower()}")
        job = asked_job(model, revision, method, bits, asked)
        with locks.writing(job.record):
            record = _certify_job(prepared(job), asked)
    else:
        if "/" not in model and not Path(model).expanduser().exists():
            models.get(model)  # a misspelt size, or a folder that is not there
        if rows is None:
            raise UserError(f"{model} is in no registry: say with --rows what it was trained on")
        from gengap.workflow.own import OwnModel, certify_own

        own = OwnModel(model, rows, revision or None, name, heldout, not not_training_rows, n_train_tokens, how)
        record = certify_own(own, method, bits, asked, tell=lambda note: print(f"note: {note}"))
    from gengap.paths import run_results_dir

    print(headline(record))
    print(f"record: {run_results_dir() / record.place}")


def _certify_job(job: "Job", settings: "Settings") -> "BoundRecord":
    from gengap.workflow.certify import certify_spec, store_of

    record = certify_spec(job.spec, job.method, job.bits, settings)
    record.write()
    shutil.rmtree(store_of(job.spec, job.method, job.bits), ignore_errors=True)
    return record


def asked_job(model_size: str, revision: str, method: str, bits: int, asked: "Settings") -> "Job":
    """The job; what cannot be asked of it is refused."""
    from gengap import models
    from gengap.workflow.jobs import Job

    job = Job(models.get(model_size, revision), method, bits)
    check(method, bits)
    asked.check_rows(job.spec.n_train_rows)
    return job


def prepared(job: "Job") -> "Job":
    """The same with its archive there."""
    from gengap.cli import steps

    if job.archive is None:
        steps.quantize(job.spec.model_size, job.method, job.bits, revision=job.spec.revision)
    return job


def headline(record: "BoundRecord") -> str:
    """What a run came to, in one line."""
    from gengap.models.spec import quantized_name

    nominal, archive = record.bounds["nominal"], record.bounds["archive"]
    name = quantized_name(record.identity.revision, record.quantization.method, record.quantization.bits)
    mark = f"arithmetic, no certificate ({record.not_certified}): " if record.not_certified else ""
    longer = "; the file is longer than nominal: only its own length certifies"
    longer = "" if record.quantization.nominal_is_met else longer
    return (
        f"{record.identity.model_size}/{name}: {mark}loss {record.risks.train.mean:.3f}, "
        f"bound {nominal.paper.value:.3f} (paper), {nominal.tight.value:.3f} (ours), "
        f"{archive.tight.value:.3f} (ours, archive), guessing {math.log(record.identity.vocab_size):.3f} nats/token{longer}"
    )
