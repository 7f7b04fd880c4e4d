"""Records that somebody else made, checked without trust."""

from pathlib import Path
from typing import Annotated

import typer

from gengap.cli.app import app
from gengap.cli.certificates import Column, DType, HeldOut, Rows, of_own, reading
from gengap.errors import UserError

MARKS = {True: "ok  ", False: "WRONG", None: "-   "}


@app.command()
def verify(
    records: Annotated[list[Path], typer.Argument(help="Record files, of any kind.")],
    archive: Annotated[
        Path | None, typer.Option(help="The quantized model (default: the file beside the record).")
    ] = None,
    model: Annotated[
        str | None, of_own("The checkpoint before quantization: a folder, or a repository of the hub.")
    ] = None,
    revision: Annotated[str | None, of_own("Of a repository: a branch, tag or commit.")] = None,
    rows: Rows = None,
    heldout: HeldOut = None,
    dtype: DType = None,
    column: Column = None,
    share: Annotated[
        float, typer.Option(help="Of the recorded windows to measure again, a random part; 0: none, 1: all.")
    ] = 1.0,
) -> None:
    """Check somebody else's record: arithmetic, hashes, archive, losses.

    Says line by line what agrees, what is wrong, and what could not be checked and why; fails if anything is wrong.
    """
    from gengap.workflow.verify_file import own_files, verify_file

    if len(records) > 1 and (archive or model or rows):
        raise UserError("an archive, a model and rows belong to one record: name one at a time")
    if (rows or heldout) and not model:
        raise UserError("rows are read for a model: name its checkpoint with --model")
    wrong = 0
    for path in records:
        given = own_files(path, model, revision, rows, heldout, reading(dtype=dtype, column=column)) if model else {}
        print(path)
        findings = verify_file(path, archive, share=share, **given)
        for finding in findings:
            print(f"  {MARKS[finding.fine]:<5} {finding.name:<21} {finding.what}")
        faults = sum(finding.fine is False for finding in findings)
        unknown = sum(finding.fine is None for finding in findings)
        verdict = f"{faults} of {len(findings)} checks found something wrong" if faults else "nothing is wrong"
        print(f"  {verdict}; {unknown} could not be made" if unknown else f"  {verdict}")
        wrong += faults > 0
    raise typer.Exit(1 if wrong else 0)
