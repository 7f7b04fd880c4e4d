"""The steps of one model, in order: text, training, quantization; and what is kept of them."""

from typing import Annotated, Literal

import typer

from gengap.cli.app import Bits, ModelSize, QuantizationMethod, Revision, app, complete_revision
from gengap.compression.methods import DEFAULT_BITS, DEFAULT_METHOD, check
from gengap.errors import MAX_SEED, UserError, check_whole


@app.command()
def corpus(
    text: Annotated[
        str, typer.Argument(help='"corpus", the ladder\'s text, or "dictionary", one of another kind.')
    ] = "corpus",
) -> None:
    """Download the pinned packages of a text and make its token rows."""
    from gengap.tokens.corpus import CODE, build
    from gengap.tokens.dictionary import DICTIONARY

    texts = {found.name: found for found in (CODE, DICTIONARY)}
    if text not in texts:
        raise UserError(f"there is no text {text!r}: choose one of {', '.join(texts)}")
    rows = build(text=texts[text])["n_rows"]
    print(f"{text}: {rows['train']:,} training rows, {rows['heldout']:,} held-out rows in {texts[text].folder}")


@app.command()
def train(
    model_size: ModelSize,
    revision: Annotated[
        str, typer.Option(help="Another length, such as 4x (default: main).", autocompletion=complete_revision)
    ] = "",
    seed: int = 0,
    snapshots: Annotated[
        bool, typer.Option("--snapshots", help="Keep weights along the way and their averages, 1.3 kB a parameter.")
    ] = False,
    device: Annotated[
        Literal["cpu", "cuda"], typer.Option(help="On a GPU the same training has other digits, and its own name.")
    ] = "cpu",
) -> None:
    """Train one rung for one epoch (resumes where it was stopped)."""
    from gengap import models

    spec = models.get(model_size, revision)  # before the slow imports: a misspelt size is refused at once
    if not spec.trained_here:
        raise UserError(f"{model_size} is read as it was released; only the ladder is trained here")
    check_whole("seed", seed, 0, MAX_SEED)
    from gengap.training.loop import train

    trunks = None if spec.length == 1 else spec.results_dir() / "trunks"
    log = train(spec, spec.train_rows(), spec.run_dir(), seed, snapshots=snapshots, trunks=trunks, device=device)
    n = max(1, len(log.online_nll) // 20)
    print(f"{model_size}: online loss {log.online_nll[-n:].mean():.4f} nats/token after {spec.n_train_tokens:,} tokens")


@app.command()
def quantize(
    model_size: ModelSize,
    method: QuantizationMethod = DEFAULT_METHOD,
    bits: Bits = DEFAULT_BITS,
    group_size: int = 128,
    n_calibration_rows: int = 128,
    seed: int = 0,
    revision: Revision = "",
) -> None:
    """Quantize a checkpoint into an archive (a long retraining resumes where it was stopped).

    The length of that file is what the archive accounting charges for the model.
    """
    from gengap import locks, models
    from gengap.models.spec import quantized_name

    spec = models.get(model_size, revision)
    check(method, bits, group_size, n_calibration_rows, seed)
    from gengap.compression import archive
    from gengap.compression.methods import Compressor
    from gengap.statistics.evaluation import weights_sha256
    from gengap.workflow import artefacts

    path = spec.results_dir() / f"{quantized_name(spec.revision, method, bits)}.ggq"
    with locks.writing(path.with_suffix(".json")):  # of the job
        checkpoint = spec.load()
        source = weights_sha256(checkpoint)
        artefacts.require_distinct(spec, source)
        state = path.with_suffix(".part")
        compressor = Compressor(checkpoint, spec.train_rows(), group_size, n_calibration_rows, seed, state)
        quantized = compressor.quantize(method, bits)
        artefacts.forget_source(path)
        length_bits = archive.write(quantized, spec.config(), path)
        artefacts.keep_source(path, source)
        state.unlink(missing_ok=True)
    print(f"{model_size}: {method} at {bits} bits, {length_bits / spec.n_params:.3f} bits/parameter in {path}")


@app.command()
def survey(model_size: ModelSize, n_seeds: int = 3) -> None:
    """Measure every quantization method at every number of bits.

    For the page on shorter codes; resumes where it was stopped.
    """
    from gengap import models

    spec = models.get(model_size)
    check_whole("n_seeds", n_seeds, 1)
    from gengap.paths import run_results_dir
    from gengap.records.survey import SurveySettings, place_of
    from gengap.workflow.survey import survey

    best = survey(spec, SurveySettings(n_seeds=n_seeds)).best()
    print(
        f"{model_size}: the shortest way to a good bound is {best.method} at {best.bits} bits, "
        f"a gap of {best.tight_gaps['archive']:.3f} nats/token; all in {run_results_dir() / place_of(spec)}"
    )


@app.command()
def publish(model_size: ModelSize) -> None:
    """Copy what this machine made of a size into results/.

    Records, logs, archives and the checkpoint, to be committed.
    """
    from gengap import models
    from gengap.records.bound import publish_model

    spec = models.get(model_size)
    for path in publish_model(spec.family, spec.size):
        print(f"{path} ({path.stat().st_size:,} bytes)")
