"""The pages: notebooks, their pairs, and the site made of them."""

from pathlib import Path
from typing import Annotated

import typer

from gengap.cli.app import app
from gengap.errors import UserError


@app.command()
def book(
    cores: Annotated[int, typer.Option(min=0, help="Of this machine, for all jobs together; 0: all of them.")] = 0,
) -> None:
    """Make the book, from the corpus to the site.

    Downloads the corpus, trains, quantizes and bounds the default models, runs the pages; `make book` installs first what that needs.
    """
    from gengap import hardware
    from gengap.book import notebooks
    from gengap.workflow import artefacts, graph, jobs

    again = {
        job: said for job in (*jobs.book_jobs(), *jobs.shortest_jobs()) if (said := notebooks.made_otherwise(job, {}))
    }
    for job, said in again.items():
        print(f"{job.title}: made with {said}: made again")
    pages = [notebooks.executed_page(job) for job in again]
    surveys = [path for path in [jobs.survey_shown()] if artefacts.is_other_survey(path)]
    options = [*graph.made_again([*pages, *surveys]), "--cores", str(cores or hardware.n_cores())]
    raise typer.Exit(graph.run("book", options=options))


@app.command()
def notebook(
    source: Annotated[Path, typer.Argument(help="A notebook of notebooks/, such as notebooks/05_bound.ipynb.")],
    output: Path,
    parameter: Annotated[list[str], typer.Option("-p", help="name=value, checked by name and type.")] = [],
) -> None:
    """Execute a notebook with papermill after checking its parameters."""
    from gengap.book import notebooks
    from gengap.book.parameters import parse_parameters

    notebooks.execute(source, output, parse_parameters(parameter))
    print(f"{source.stem}: executed into {output}")


@app.command()
def sync(
    check: Annotated[bool, typer.Option("--check", help="Only say what is out of step, and fail.")] = False,
) -> None:
    """Write the .ipynb pair of every .py notebook."""
    from gengap.book import notebooks

    if not check:
        from gengap.book.site import sync_install_cells

        for source in sync_install_cells():
            print(f"install cell of {source.name} brought in line with _config.yml")
    for source in notebooks.notebook_sources():
        if not check:
            if done := notebooks.sync_pair(source):
                print(done)
        elif difference := notebooks.pair_difference(source):
            raise UserError(f"{source.name} and its pair differ; run `make sync`\n{difference}")


@app.command()
def site(
    step: Annotated[str, typer.Argument(help="stage or build: in this order they make the book; pdf prints it.")],
) -> None:
    """Stage the book from executed notebooks, build it, print it as one PDF."""
    from gengap.book import site

    if step == "stage":
        print(f"staged {site.stage()}")
    elif step == "build":
        print(f"built {site.build()}")
    elif step == "pdf":
        from gengap.book.pdf import make_pdf

        print(f"printed {make_pdf()}")
    else:
        raise UserError(f"unknown step {step!r}: stage, build or pdf")
