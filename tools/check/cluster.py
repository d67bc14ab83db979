#!/usr/bin/env python3
"""Checks the examples for clusters (docs/cluster.md) on clusters of this machine: Ray, Spark and Ray Tune.

    tools/check/cluster.py --python VENV/bin/python [--systems ray spark] [--checks speed stop crash sweep lose]

VENV has the package of hearken and requirements-cluster.txt; Spark needs Java. A worker is a node of Ray (a raylet), or a
worker of Spark's standalone cluster, with one core. The manifest has copies of the recordings of `audio/`, of which one is
listed twice, and three that fail. Every job must end with exactly one row for each file, the right texts, and the failed
files reported.

speed: prints throughput and processor time against the number of workers, with the English model. stop: the driver is
killed in the middle of a job, and a part is cut: the same command must do what is left, and only that; then the failed
files are mended: only they are transcribed. crash: one recording ends every process that reads it: only its part may be
left. sweep: one of four trainings of Ray Tune is killed, and must continue from its checkpoint. lose: in the middle of the
job a process that transcribes, and later a whole worker, is killed by SIGKILL. Exit code 1 if something differs.
"""

import argparse
import collections
import contextlib
import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "bindings/python/examples"
TICK = os.sysconf("SC_CLK_TCK")
PR_SET_CHILD_SUBREAPER = 36

# These run in VENV. The head is a worker too. Agents have given ports, because raylets do not wait long for them on a busy
# machine. A killed raylet must be reaped, or its workers do not notice.
RAY = """
import socket, sys, time
from ray.cluster_utils import Cluster
def port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]
cluster, nodes = Cluster(), []
for number in range(int(sys.argv[1])):
    options = {"include_dashboard": False} if number == 0 else {}
    nodes.append(cluster.add_node(num_cpus=1, object_store_memory=200 << 20, metrics_agent_port=port(),
                                  runtime_env_agent_port=port(), dashboard_agent_listen_port=port(), **options))
cluster.wait_for_nodes()
print(cluster.address, flush=True)
while True:
    time.sleep(0.2)
    for node in nodes:
        for infos in node.all_processes.values():
            for info in infos:
                info.process.poll()
"""
TEXTS = """
import json, sys, hearken
print(json.dumps([one.text for one in hearken.Recognizer().transcribe(sys.argv[1:])]))
"""
ROWS = """
import json, sys
from pathlib import Path
import pyarrow
from pyarrow import parquet
rows = []
for part in sorted(Path(sys.argv[1]).glob("*.parquet")):
    try:
        rows += parquet.ParquetFile(part).read().to_pylist()
    except pyarrow.ArrowInvalid:
        pass  # without an end
print(json.dumps(rows))
"""
RECIPE = """
[data]
words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
[[data.recordings]]
manifest = "manifest.jsonl"
weight = 1.0
[[data.dev]]
manifest = "manifest.jsonl"
weight = 1.0
[network]
cells = ["CELL"]
hidden = [16]
input_size = 16
[schedule]
steps = 1000
warmup_steps = 20
[run]
batch_size = 4
log_interval = 20
eval_interval = 500
checkpoint_interval = 20
"""


# ---------------------------------------------------------------- processes


def processes():
    """Parent, command, and processor seconds of each process."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            stat = (entry / "stat").read_text()
            fields = stat[stat.rindex(")") + 2 :].split()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if fields[0] != "Z":
                found[int(entry.name)] = (int(fields[1]), command, (int(fields[11]) + int(fields[12])) / TICK)
    return found


def below(pid, found=None):
    """The processes below one, without itself."""
    found = found or processes()
    family = {pid}
    while more := {one for one, (parent, _, _) in found.items() if parent in family} - family:
        family |= more
    return family - {pid}


def uses_hearken(pid):
    try:
        return "_hearken" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


def transcribers():
    """Processes below this one that have opened the package of hearken."""
    return sorted(pid for pid in below(os.getpid()) if uses_hearken(pid))


def kill(pids, sign=signal.SIGKILL):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)


def await_that(condition, what, seconds=400):
    """The first result of the condition that is true."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > end:
            raise SystemExit(f"FAILED: waited {seconds} s for {what}")
        time.sleep(0.02)
    return result


class Meter(threading.Thread):
    """Processor seconds of the processes below this one, and how long some of them used hearken."""

    def __init__(self):
        super().__init__(daemon=True)
        self.done, self.before, self.seconds, self.users, self.first = threading.Event(), {}, {}, set(), None

    def run(self):
        self.before = {pid: value[2] for pid, value in processes().items()}
        while not self.done.wait(0.1):
            found = processes()
            for pid in below(os.getpid(), found):
                self.seconds[pid] = found[pid][2] - self.before.get(pid, 0)
                if pid not in self.users and uses_hearken(pid):
                    self.users.add(pid)
                    self.first = self.first or time.monotonic()

    def stop(self):
        self.done.set()
        self.join()
        return sum(self.seconds[pid] for pid in self.users), sum(self.seconds.values())


# ---------------------------------------------------------------- clusters


@contextlib.contextmanager
def ray_cluster(args, workers):
    command = [args.python, "-c", RAY, str(workers)]
    with open(args.folder / "ray.log", "a") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            address = process.stdout.readline().strip()
            if not address:
                raise SystemExit(f"FAILED: no cluster of Ray\n{Path(log.name).read_text()}")
            yield {"RAY_ADDRESS": address}, [args.python]
        finally:
            end(process)


@contextlib.contextmanager
def spark_cluster(args, workers):
    home = subprocess.check_output([args.python, "-c", "import pyspark; print(pyspark.__path__[0])"], text=True).strip()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        master = f"spark://127.0.0.1:{probe.getsockname()[1]}"
    # Java starts faster with its first compiler alone.
    java = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
    environment = os.environ | java | {"SPARK_HOME": home, "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": args.python}
    one = ["--host", "127.0.0.1", "--webui-port", "0"]
    commands = [["master.Master", *one, "--port", master.rpartition(":")[2]]]
    work = str(args.folder / "spark")
    commands += [["worker.Worker", *one, "--cores", "1", "--memory", "1g", "-d", work, master]] * workers
    with open(args.folder / "spark.log", "a+") as log:
        seen = log.seek(0, os.SEEK_END)
        started = []
        try:
            for name, *options in commands:
                command = [f"{home}/bin/spark-class", f"org.apache.spark.deploy.{name}", *options]
                started.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))

            def registered():
                return Path(log.name).read_text()[seen:].count("Successfully registered with master") >= workers

            await_that(registered, "the workers of Spark")
            settings = ["--master", master, "--driver-memory", "512m"]
            settings += ["--conf", "spark.executor.memory=512m", "--conf", "spark.ui.enabled=false"]
            yield environment, [f"{home}/bin/spark-submit", *settings]
        finally:
            for process in started:
                end(process)


def end(process):
    """Ends a process and all below this one, also those whose parent has ended."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    kill(below(os.getpid()))
    process.wait()
    # Orphans are children of this process, which is their subreaper.
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


CLUSTERS = {"ray": ray_cluster, "spark": spark_cluster}


# ---------------------------------------------------------------- the jobs


class Job:
    """A run of one of the examples."""

    def __init__(self, args, cluster, script, *arguments, folder=EXAMPLES):
        environment, launcher = cluster
        self.log = args.folder / f"{script}.log"
        self.begin = time.monotonic()
        with open(self.log, "w") as log:
            command = [*launcher, folder / script, *map(str, arguments)]
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ | environment
            )

    def wait(self, code):
        """The output, and the lines of standard output and error that begin with `failed:`."""
        output = self.process.communicate(timeout=600)[0]
        self.seconds = time.monotonic() - self.begin
        errors = self.log.read_text()
        if self.process.returncode != code:
            raise SystemExit(
                f"FAILED: exit code {self.process.returncode} in place of {code}\n{output}{errors[-4000:]}"
            )
        # spark-submit writes both outputs of the script to its standard output.
        return output, [line for line in (output + errors).splitlines() if line.startswith("failed:")]


def python(args, code, *arguments):
    return json.loads(subprocess.check_output([args.python, "-c", code, *map(str, arguments)], text=True))


def clip_texts(args):
    clips = sorted(path for path in (ROOT / "audio").iterdir() if path.suffix in {".wav", ".flac", ".mp3", ".opus"})
    return list(zip(clips, python(args, TEXTS, *clips)))


def prepare(folder, args, count):
    """A manifest; the texts of its recordings, and those that fail."""
    folder.mkdir()
    expected, entries = {}, []
    for number in range(count):
        clip, text = args.texts[number % len(args.texts)]
        path = folder / f"{number:05}-{clip.name}"
        path.symlink_to(clip)
        expected[str(path)] = text
        entries.append(path.name)
    bad = [folder / name for name in ("empty.wav", "no-sound.wav", "missing.wav")]
    bad[0].touch()
    bad[1].write_text("this is no recording\n" * 100)
    # In different parts, and one recording is listed twice.
    for number, path in enumerate(bad):
        entries.insert(number * count // 2, path.name)
    entries.insert(count // 3, entries[5])
    lines = [json.dumps({"audio_filepath": name, "text": ""}) + "\n" for name in entries]
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(lines))
    return manifest, expected, [str(path) for path in bad]


def check_rows(rows, expected, bad):
    """Exactly one row for each file, with the right text or an error."""
    counts = collections.Counter(row["path"] for row in rows)
    twice = [path for path, count in counts.items() if count > 1]
    wanted = expected.keys() | set(bad)
    assert not twice and counts.keys() == wanted, (twice[:3], len(counts), len(wanted))
    for row in rows:
        if row["path"] in bad:
            assert row["text"] is None and row["path"] in row["error"], row
        else:
            assert row["error"] is None and row["text"] == expected[row["path"]], row
            assert [word["word"] for word in row["words"]] == row["text"].split(), row
    return collections.Counter(row["worker"] for row in rows)


def last(output):
    """The last line: Ray prints its own messages before it."""
    return output.strip().rpartition("\n")[2]


def parts(out):
    return sorted(out.glob("*.parquet"))


def worker_of(name, pids):
    """The processes of the worker that one of the transcribing processes belongs to: its raylet, which must not be the
    head; or its executor, the parent of the daemon that starts processes of Python, and then its worker of Spark."""
    found = processes()
    marks = {"ray": ["raylet/raylet"], "spark": ["CoarseGrainedExecutorBackend", "deploy.worker.Worker"]}[name]
    for pid in pids:
        chain = []
        while pid in found and len(chain) < len(marks):
            pid, command, _ = found[pid]
            if pid in found and marks[len(chain)] in found[pid][1] and "--head" not in found[pid][1]:
                chain.append(pid)
        if len(chain) == len(marks):
            return chain
    return None


def again(rows, done):
    """Recordings that were transcribed once more."""
    return [row["path"] for row in rows if done.get(row["path"], row["worker"]) != row["worker"]]


def stop(name, args, cluster):
    """The driver is killed; then the failed files are mended."""
    manifest, expected, bad = prepare(args.folder / f"{name}-stop", args, args.recordings)
    out = args.folder / f"{name}-stop.out"
    arguments = [f"{name}_transcribe.py", manifest, out, "--workers", args.workers, "--part", args.part]
    job = Job(args, cluster, *arguments)
    await_that(lambda: len(parts(out)) >= 3, "the first parts")
    kill({job.process.pid} | below(job.process.pid))
    job.process.wait()
    await_that(lambda: not transcribers(), "the end of the actors")
    done = {row["path"]: row["worker"] for row in python(args, ROWS, out) if row["error"] is None}
    assert 0 < len(done) < len(expected), "the job ended before the kill"
    # A part that is not complete, as of a machine that lost its power.
    (out / "cut.parquet").write_bytes(parts(out)[0].read_bytes()[:-100])
    output, failed = Job(args, cluster, *arguments).wait(1)
    rows = python(args, ROWS, out)
    check_rows(rows, expected, bad)
    assert len(failed) == len(bad) and not again(rows, done), (failed, again(rows, done))
    print(f"{name}: driver killed after {len(done)} recordings; the same command: {last(output)}", flush=True)

    done = {row["path"]: row["worker"] for row in rows if row["error"] is None}
    for path in bad:
        Path(path).unlink(missing_ok=True)
        Path(path).symlink_to(ROOT / "audio/pi.wav")
        expected[path] = "three one four one five"
    output, failed = Job(args, cluster, *arguments).wait(0)
    rows = python(args, ROWS, out)
    check_rows(rows, expected, [])
    assert not failed and not again(rows, done), (failed, again(rows, done))
    print(f"{name}: {len(bad)} files mended; the same command: {last(output)}", flush=True)


def crash(name, args, cluster):
    """A recording ends its process, in a copy of the examples."""
    folder = args.folder / f"{name}-examples"
    shutil.copytree(EXAMPLES, folder)
    code = (folder / "batch.py").read_text()
    line = "    worker = f"
    assert code.count(line) == 1
    killed = (
        "    paths = list(paths)\n    if any('/00022-' in path for path in paths):\n        os.kill(os.getpid(), 9)\n"
    )
    (folder / "batch.py").write_text(code.replace(line, killed + line))
    manifest, expected, bad = prepare(args.folder / f"{name}-crash", args, 97)
    out = args.folder / f"{name}-crash.out"
    arguments = [f"{name}_transcribe.py", manifest, out, "--part", 10, "--attempts", 1]
    output, failed = Job(args, cluster, *arguments, folder=folder).wait(1)
    rows = python(args, ROWS, out)
    found = {row["path"] for row in rows}
    check_rows(rows, {path: text for path, text in expected.items() if path in found}, bad)
    # Of 100 recordings the ten of its part.
    assert len(rows) == 90 and len(failed) == len(bad) and " 10 left," in output, (len(rows), output)
    print(f"{name}: a recording that ends its process: {last(output)}", flush=True)


def lose(name, args, cluster):
    """A process that transcribes is killed, then a whole worker."""
    manifest, expected, bad = prepare(args.folder / f"{name}-lose", args, args.recordings)
    out = args.folder / f"{name}-lose.out"
    job = Job(args, cluster, f"{name}_transcribe.py", manifest, out, "--workers", args.workers, "--part", args.part)
    await_that(lambda: parts(out), "the first parts")
    kill(transcribers()[:1])
    count = len(parts(out))
    await_that(lambda: len(parts(out)) > count, "parts after the kill")
    chain = await_that(lambda: worker_of(name, transcribers()), "a worker")
    kill(reversed(chain))
    await_that(lambda: not set(chain) & processes().keys(), "the end of the worker")
    assert job.process.poll() is None, "the job ended before the kills"
    output, failed = job.wait(1)
    assert len(failed) == len(bad) and all(any(path in line for line in failed) for path in bad), failed
    workers = check_rows(python(args, ROWS, out), expected, bad)
    assert 2 <= len(workers) < len(parts(out)), workers
    print(
        f"{name}: a process and then one of {args.workers} workers killed: {last(output)}; {len(parts(out))} parts of "
        f"{len(workers)} processes, {job.seconds:.0f} s",
        flush=True,
    )


def sweep(name, args, cluster):
    """Four trainings by Ray Tune, of which one is killed."""
    if name != "ray":
        return
    recipes = []
    for cell in ("gru", "mingru"):
        recipes.append(args.folder / f"{cell}.toml")
        recipes[-1].write_text(RECIPE.replace("CELL", cell))
    out = args.folder / "sweep"
    arguments = ["--data", ROOT / "audio", "--out", out, "--set", "optimizer.learning_rate=0.002,0.004", *recipes]
    job = Job(args, cluster, "ray_sweep.py", *arguments)

    def training():
        for pid in transcribers():
            with contextlib.suppress(OSError):
                files = {os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir()}
                runs = {Path(file).parent for file in files if file.startswith(f"{out}/") and "/tune/" not in file}
                for run in runs:
                    log = (run / "log.jsonl").read_text().splitlines()
                    if (run / "checkpoint.bin").exists() and any('"step":100,' in line for line in log):
                        return pid, run
        return None

    pid, run = await_that(training, "a training that has written a checkpoint after some updates")
    kill([pid])
    output, failed = job.wait(0)
    lines = [line.split("\t") for line in output.splitlines() if line.count("\t") == 2]
    scores = [float(line[0]) for line in lines]
    assert len(lines) == 4 and scores == sorted(scores) and not failed, output
    assert all(line[1] == "1000" and Path(line[2]).exists() for line in lines), output
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    starts = [line["step"] for line in log if "start" in line]
    assert len(starts) == 2 and 0 < starts[1] < 1000, starts
    print(
        f"sweep: 4 trainings on {args.workers} workers, {job.seconds:.0f} s, scores {scores}; {run.name} was killed, "
        f"and continued after step {starts[1]}",
        flush=True,
    )
    again = Job(args, cluster, "ray_sweep.py", *arguments)
    second, _ = again.wait(0)
    assert [line for line in second.splitlines() if line.count("\t") == 2] == ["\t".join(line) for line in lines]
    print(f"sweep: the same command again: nothing is trained, the same scores, {again.seconds:.0f} s", flush=True)


def speed(name, args, cluster):
    """Throughput against workers."""
    manifest, expected, bad = prepare(args.folder / f"{name}-speed", args, args.speed_recordings)
    lines = [line for line in manifest.read_text().splitlines(True) if not any(Path(path).name in line for path in bad)]
    manifest.write_text("".join(lines))
    environment, launcher = cluster
    for workers in range(1, args.workers + 1):
        limit = ["--conf", f"spark.cores.max={workers}"] if name == "spark" else []
        out = args.folder / f"{name}-speed-{workers}"
        arguments = [manifest, out, "--workers", workers, "--part", args.part, "--model", "english"]
        await_that(lambda: not transcribers(), "the end of the job before")
        meter = Meter()
        meter.start()
        Job(args, (environment, [*launcher, *limit]), f"{name}_transcribe.py", *arguments).wait(0)
        seconds = time.monotonic() - meter.first
        own, everything = meter.stop()
        rows = python(args, ROWS, out)
        assert {row["path"] for row in rows} == expected.keys() and len(rows) == len(expected)
        print(
            f"{name}: {workers} workers ({len({row['worker'] for row in rows})} processes): {len(rows)} recordings in "
            f"{seconds:.1f} s, {len(rows) / seconds:.1f} a second; {own:.1f} s of processor time, {everything:.1f} s with "
            "the driver and the cluster",
            flush=True,
        )


# A worker that is lost stays lost: last.
CHECKS = {"speed": speed, "stop": stop, "crash": crash, "sweep": sweep, "lose": lose}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="the interpreter of VENV")
    parser.add_argument("--systems", nargs="+", choices=CLUSTERS, default=list(CLUSTERS))
    parser.add_argument("--checks", nargs="+", choices=CHECKS, default=list(CHECKS))
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--recordings", type=int, default=1200)
    parser.add_argument("--speed-recordings", type=int, default=400)
    parser.add_argument("--part", type=int, default=20, help="recordings in a part")
    parser.add_argument("--keep", action="store_true", help="keep the folder, also its logs")
    args = parser.parse_args()
    args.python = os.path.abspath(args.python)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: exit(143))  # so that the clusters are ended
    args.folder = Path(tempfile.mkdtemp(prefix="cluster-"))
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "PATH": f"{Path(args.python).parent}:{os.environ['PATH']}",
    }
    try:
        args.texts = clip_texts(args)
        for name in args.systems:
            with CLUSTERS[name](args, args.workers) as cluster:
                for check in args.checks:
                    CHECKS[check](name, args, cluster)
    finally:
        if args.keep:
            print(args.folder)
        else:
            shutil.rmtree(args.folder)


if __name__ == "__main__":
    main()
