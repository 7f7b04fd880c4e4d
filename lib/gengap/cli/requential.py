"""A student taught by draws from its teacher: what sending it would cost, and what that bounds."""

from typing import Annotated

import typer

from gengap.cli.app import ModelSize, app
from gengap.errors import UserError


@app.command()
def requential(
    model_size: ModelSize,
    recipe: Annotated[str, typer.Option(help="plain, smoothing, projection or threshold.")] = "smoothing",
    seed: Annotated[int, typer.Option(min=0, help="Of the initial weights and of all draws.")] = 0,
    control: Annotated[str, typer.Option(help="Read in place of the text: random or repeated tokens.")] = "",
    batch_rows: Annotated[int, typer.Option(min=0, help="That the student learns from in a step; 0: as its rung.")] = 0,
    file_steps: Annotated[
        int, typer.Option(min=0, help="Send so many steps as a real file instead, and decode it (smoothing only).")
    ] = 0,
    publish: Annotated[
        bool, typer.Option("--publish", help="Copy this machine's records into results/ as well.")
    ] = False,
) -> None:
    """Measure the requential code of a rung.

    Resumes where it was stopped.
    """
    from gengap import models
    from gengap.models.ladder import LadderSpec
    from gengap.records.requential import RequentialFile, RequentialRecord, publish_requential
    from gengap.requential.recipe import Requential
    from gengap.workflow.requential import carry_out, send

    if not isinstance(spec := models.get(model_size), LadderSpec) or spec.family != "ladder":
        raise UserError(f"{model_size} is not trained here: choose a size of the ladder (`gengap sizes`)")
    task = Requential(spec, recipe, seed, control, batch_rows)
    if file_steps:
        path = send(task, file_steps)
        file = RequentialFile.read(path)
        print(f"{file.file_bits:,} bits for a divergence of {file.divergence_bits:,.0f}: {file.file}")
        return
    path = carry_out(task)
    record = RequentialRecord.read(path)
    for which, length in record.lengths.items():
        print(f"{which:<10}{length.total / record.identity.n_params:>8.3f} bits a parameter")
    for name in ("student_train", "student_heldout", "teacher_heldout"):
        print(f"{name:<17}{getattr(record, name).mean:.3f} ± {getattr(record, name).standard_error:.3f} nats/token")
    for written in publish_requential() if publish else [path]:
        print(f"record: {written}")
