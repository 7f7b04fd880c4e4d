"""The whole ladder: every training of the plan, one after the other."""

import math
from typing import Annotated

import typer

from gengap.cli.app import app, complete_size
from gengap.errors import UserError


@app.command()
def ladder(
    group: Annotated[
        list[str] | None, typer.Option(help="Only runs of this group of gengap.workflow.plan (may be repeated).")
    ] = None,
    size: Annotated[
        list[str] | None, typer.Option(help="Only this model size (may be repeated).", autocompletion=complete_size)
    ] = None,
    max_flops: Annotated[
        float, typer.Option(help="Only runs of at most so many: 1e13 takes a core some minutes.")
    ] = math.inf,
    anew: Annotated[bool, typer.Option(help="Train here what is published already, and compare.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Only say what there is to do.")] = False,
    publish: Annotated[
        bool,
        typer.Option("--publish", help="Only copy this machine's records, and how far large rungs are, into results/."),
    ] = False,
) -> None:
    """Train the runs of the plan, cheapest first, each with its record.

    Resumes where it was stopped.
    """
    from gengap.records.training_run import publish_runs
    from gengap.workflow.campaign import carry_out, change_from_published, is_done, publish_waypoints, selected

    if publish:
        for path in [*publish_runs(), *publish_waypoints()]:
            print(f"{path} ({path.stat().st_size:,} bytes)" if path.exists() else f"{path} (removed)")
        return
    if not max_flops > 0:  # NaN too
        raise UserError(f"max_flops = {max_flops}: choose a number above 0, such as 1e13")
    planned = selected(group or (), size or (), max_flops)
    pending = [p for p in planned if not is_done(p, anew)]
    print(f"{len(planned)} runs, {len(pending)} to do, {sum(p.flops for p in pending):.1e} flops at most")
    for p in planned if show else pending:
        label = f"{p.model_size} {p.name}"
        if show:
            print(f"{label:<32}{p.flops:>9.1e} flops  {'to do' if p in pending else 'done'}")
            continue
        record = carry_out(p)
        change = change_from_published(record)
        print(
            f"{label:<32}{record.heldout.mean:.4f} ± {record.heldout.standard_error:.4f} nats/token held out"
            + ("" if change is None else f", {change:+.1e} from the published"),
            flush=True,
        )
