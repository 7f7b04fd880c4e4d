"""More roles like `{record}`: numbers of a training's record, of a benchmark, and those that other people published."""

import json

from bookext import RecordRole

from gengap import published
from gengap.paths import project_root, published_results_dir
from gengap.records import TrainingRun
from gengap.records.training_run import record_path


class RunRole(RecordRole):
    """`` {run}`ladder-100k grid-1x: schedule.tokens_per_step: ,d` `` prints that number of the record of a training."""

    def look_up(self, name):
        size, _, run = name.partition(" ")
        path = record_path(size, run, published_results_dir())
        self.env.note_dependency(str(path))
        return TrainingRun.read(path)


class PublishedRole(RecordRole):
    """`` {published}`kaplan2020: training.context: ,d` `` prints that number of `gengap.published`."""

    def look_up(self, name):
        self.env.note_dependency(published.__file__.replace(".py", ".json"))
        return published.facts(name)


class BenchmarkRole(RecordRole):
    """`` {benchmark}`mutation: total.mutants: ,d` `` prints that number of `benchmarks/mutation.json`."""

    def look_up(self, name):
        path = project_root() / "benchmarks" / f"{name}.json"
        if not path.is_file():
            raise KeyError(name)
        self.env.note_dependency(str(path))
        return json.loads(path.read_text(encoding="utf-8"))


def setup(app):
    app.add_role("run", RunRole())
    app.add_role("published", PublishedRole())
    app.add_role("benchmark", BenchmarkRole())
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
