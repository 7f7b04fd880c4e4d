"""The report of records that are not all of one kind: told apart, marked, and named where two are one."""

import pytest
from bs4 import BeautifulSoup
from made_up import made_up_record

from gengap.book import report
from gengap.errors import UserError
from gengap.paths import published_results_dir
from gengap.records.bound import BoundRecord

RUNG = published_results_dir() / "ladder" / "100k"


def text_of(path) -> str:
    return " ".join(BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser").get_text(" ").split())


def test_records_of_bounds_are_told_from_others():
    bounds, others = report.told_apart(sorted(RUNG.glob("main-*.json")))
    assert [path.name for path in bounds] == ["main-gptq-4bit.json", "main-qat-2bit.json", "main-qat-3bit.json"]
    assert others == [f"{RUNG / 'main-quantization.json'} is a survey of quantization"]
    assert report.told_apart([]) == ([], [])
    with pytest.raises(UserError, match="and no record of a bound"):
        report.told_apart([RUNG / "main-quantization.json"])


def test_arithmetic_missing_losses_and_equal_weights_are_told(tmp_path):
    """Three records of one page: a certificate, arithmetic without held-out rows, and two revisions that are one checkpoint."""
    source = BoundRecord.read(RUNG / "main-gptq-4bit.json")
    risks = source.risks.model_copy(update={"heldout": None, "heldout_quantized": None})
    evidence = source.evidence.model_copy(update={"heldout_sha256": None, "checkpoint_sha256": "a" * 64})
    identity = source.identity.model_copy(update={"family": "own", "size": "gpt2"})
    changes = {"risks": risks, "evidence": evidence, "identity": identity}
    records = [source, source.model_copy(update=changes | {"not_certified": "these <b>are</b> not its training rows"})]
    for step in (1000, 2000):
        tokens = step * 2_097_152
        records.append(made_up_record(family="pythia", size="14m", revision=f"step{step}", n_train_tokens=tokens))
    paths = [record.write(tmp_path / str(number)) for number, record in enumerate(records)]
    assert paths[1].name == "main-gptq-4bit-arithmetic.json"
    page = report.write(paths, tmp_path / "r.html")
    said = text_of(page)
    assert "own-gpt2 gptq-4 (arithmetic) is no certificate: these <b>are</b> not its training rows." in said
    assert "not measured" in said
    assert "pythia-14m at step1000 and pythia-14m at step2000 hold the same weights" in said
    assert "No model here has records at several revisions" in said
    assert not BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").find_all("b", string="are")


def test_namesakes_keep_a_column_each(tmp_path):
    source = BoundRecord.read(RUNG / "main-gptq-4bit.json")
    other = source.model_copy(update={"evidence": source.evidence.model_copy(update={"checkpoint_sha256": "c" * 64})})
    paths = [record.write(tmp_path / name) for name, record in (("mine", source), ("yours", other))]
    said = text_of(report.write(paths, tmp_path / "r.html"))
    assert f"ladder-100k gptq-4 {source.evidence.checkpoint_sha256[:6]}" in said
    assert "ladder-100k gptq-4 cccccc" in said
