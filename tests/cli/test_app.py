"""The command line: each mistake is one sentence on stderr and a non-zero exit, before long work."""

import pytest
from commands import run
from typer.testing import CliRunner

from gengap.cli import app


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "ladder-10k"), "unknown model size 'ladder-10k': did you mean"),
        (("quantize", "ladder-50k", "--bits", "9"), "choose 2 to 8"),
        (("quantize", "ladder-50k", "--method", "gptp"), "unknown quantization method 'gptp'"),
        (
            ("notebook", "notebooks/05_bound.ipynb", "out.ipynb", "-p", "model_sise=ladder-50k"),
            "did you mean model_size?",
        ),
        (("notebook", "notebooks/05_bound.ipynb", "out.ipynb", "-p", "bits=four"), "bits is a int"),
        (("notebook", "notebooks/no.ipynb", "out.ipynb"), "there is no notebook"),
        (("site", "bild"), "unknown step 'bild'"),
        (("certify", "ladder-10k"), "unknown model size 'ladder-10k': did you mean"),
        (
            ("certify", "pythia-14m", "--failure-prob", "1"),
            "a failure probability of 1.0: choose a number between 0 and 1",
        ),
        (("run", "ladder-50k", "--n-windows", "1"), "n_windows = 1: choose at least 2"),
        (("run", "ladder-10k"), "unknown model size 'ladder-10k': did you mean"),
        (("run", "ladder-50k", "--revision", "step8"), "ladder-50k has no training of length"),
        (("run", "pythia-14m", "--revision", "step3"), "pythia-14m has no checkpoint 'step3'"),
        (("run", "pythia-14m", "--method", "gptp"), "unknown quantization method 'gptp'"),
        (("sweep", "ladder-50k", "ladder-1k"), "unknown model size 'ladder-1k': did you mean"),
        (("sweep", "pythia-14m", "--revision", "step3"), "pythia-14m has no checkpoint 'step3'"),
        (("sweep", "ladder-50k", "--bits", "9"), "9 bits per weight: choose 2 to 8"),
        (("sweep", "ladder-50k", "--method", "gptp"), "unknown quantization method 'gptp'"),
    ],
)
def test_mistakes_are_one_sentence(arguments, said):
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    assert said in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_training_without_a_corpus_says_what_to_do_first(empty_project):
    done = run("train", "ladder-50k", root=empty_project)
    assert done.returncode == 1
    assert done.stderr == "error: there is no corpus yet: run `gengap corpus` (or `make book`) first\n"


def test_sizes_are_listed_with_their_parameters():
    listed = run("sizes").stdout
    assert "ladder-50k                   52,944" in listed
    assert "pythia-410m             405,334,016     8,388,608,000" in listed
