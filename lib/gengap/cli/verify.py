"""Records that somebody else made, checked without trust."""

from pathlib import Path
from typing import Annotated

import typer

from gengap.cli.app import app
from gengap.cli.certificates import Column, DType, HeldOut, Rows, SeqLen, of_own, reading
from gengap.errors import UserError

MARKS = {True: "ok  ", False: "WRONG", None: "-   "}


@app.command()
def verify(
    records: Annotated[list[Path], typer.Argument(help="Record files, of any kind.")],
    archive: Annotated[
        Path | None, typer.Option(help="The quantized model (default: the file beside the record).")
    ] = None,
    share: Annotated[
        float, typer.Option(help="Of the recorded windows to measure again, a random part; 0: none, 1: all.")
    ] = 1.0,
    model: Annotated[str | None, of_own("The checkpoint of the record: a folder, or a repository of the hub.")] = None,
    rows: Rows = None,
    heldout: HeldOut = None,
    seq_len: SeqLen = None,
    dtype: DType = None,
    column: Column = None,
    revision: Annotated[str | None, of_own("Branch, tag or commit of a repository.")] = None,
) -> None:
    """Check somebody else's record: arithmetic, hashes, archive, losses.

    Says line by line what agrees, what is wrong, and what could not be checked and why; fails if anything is wrong.
    """
    from gengap.workflow.verify_file import verify_file

    how = reading(seq_len=seq_len, dtype=dtype, column=column)
    if (model is None) != (rows is None) or (model is None and (heldout or revision or how)):
        raise UserError("to measure again, give both the checkpoint (--model) and its rows (--rows)")
    if model is not None and len(records) > 1:
        raise UserError("one checkpoint belongs to one record: give the records one after the other")
    given = ()
    if model is not None:
        from gengap.workflow.own import OwnModel, given_to

        given = given_to(records[0], OwnModel(model, rows, revision, heldout=heldout, reading=how))
    wrong = 0
    for path in records:
        print(path)
        findings = verify_file(path, archive, *given, share=share)
        for finding in findings:
            print(f"  {MARKS[finding.fine]:<5} {finding.name:<21} {finding.what}")
        faults = sum(finding.fine is False for finding in findings)
        unknown = sum(finding.fine is None for finding in findings)
        verdict = f"{faults} of {len(findings)} checks found something wrong" if faults else "nothing is wrong"
        print(f"  {verdict}; {unknown} could not be made" if unknown else f"  {verdict}")
        wrong += faults > 0
    raise typer.Exit(1 if wrong else 0)
