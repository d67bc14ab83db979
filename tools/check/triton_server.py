"""Runs models exported for Triton in Triton's server, and compares the outputs of streams with onnxruntime.

    pip install nvidia-pytriton onnxruntime
    python tools/check/triton_server.py --hearken target/release/hearken model.onnx [more.onnx ...]

The package nvidia-pytriton has Triton's server and its core, which reads config.pbtxt, forms batches
of sequences and keeps their states, but not the backend for onnxruntime. tools/check/triton_standin.c takes
its place (built here with cc), so this checks the configuration and everything that Triton itself does
with it, not NVIDIA's backend.

Each model is exported twice, with features and with samples as input. Streams of different lengths run at the same
time; then the same sequence numbers start again, some of them without an end before; a stream without a start must
be refused. Exits with 1 if something differs. Checked with nvidia-pytriton 0.7.0 (Triton 2.51.0), onnxruntime
1.32.0.
"""

import argparse
import concurrent.futures
import glob
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import numpy
import onnxruntime
import tritonclient.grpc

TOLERANCE = 1e-4
STREAMS = 6
ROOT = os.path.dirname(os.path.abspath(__file__))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, folder, repository):
        package = importlib.util.find_spec("pytriton").submodule_search_locations[0]
        backend = os.path.join(folder, "backends", "onnxruntime")
        os.makedirs(backend)
        library = os.path.join(backend, "libtriton_onnxruntime.so")
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, ROOT + "/triton_standin.c", "-ldl"], check=True)
        ort = glob.glob(os.path.join(os.path.dirname(onnxruntime.__file__), "capi", "libonnxruntime.so.*"))[0]
        self.log, self.port = os.path.join(folder, "log"), free_port()
        command = [
            os.path.join(package, "tritonserver", "bin", "tritonserver"),
            f"--model-repository={repository}",
            f"--backend-directory={folder}/backends",
            f"--grpc-port={self.port}",
            "--allow-http=false",
            "--allow-metrics=false",
        ]
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "ORT_DYLIB_PATH": ort})
        self.client = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{self.port}")

    def lines(self):
        with open(self.log, encoding="utf-8") as log:
            return log.read().splitlines()

    def wait(self):
        for _ in range(240):
            if self.process.poll() is not None:
                raise RuntimeError("tritonserver ended:\n" + "\n".join(self.lines()[-40:]))
            try:
                if self.client.is_server_ready():
                    return
            except tritonclient.grpc.InferenceServerException:
                pass
            time.sleep(0.25)
        raise RuntimeError("tritonserver is not ready after a minute")

    def stop(self):
        self.client.close()
        self.process.terminate()
        self.process.wait(60)


class Model:
    """One exported model: by onnxruntime alone, and through Triton."""

    def __init__(self, server, folder, name):
        self.server, self.name = server, name
        self.session = onnxruntime.InferenceSession(f"{folder}/{name}/1/model.onnx", providers=["CPUExecutionProvider"])
        self.states = json.loads(self.session.get_modelmeta().custom_metadata_map["states"])
        self.input = self.session.get_inputs()[0].name
        config = server.client.get_model_config(name).config
        self.shape = list(config.input[0].dims)
        assert len(config.sequence_batching.state) == len(self.states)

    def random(self, calls, seed):
        random = numpy.random.default_rng(seed)
        sound = random.normal(size=[calls, 1, *self.shape])
        return (0.1 * sound if self.input == "pcm" else 2 * sound - 6).astype(numpy.float32)

    def alone(self, calls):
        states = {s["input"]: numpy.zeros([1 if d == "N" else d for d in s["shape"]], numpy.float32) for s in self.states}
        outputs = []
        for x in calls:
            names = ["log_probs"] + [s["output"] for s in self.states]
            out, *new = self.session.run(names, {self.input: x, **states})
            states = dict(zip([s["input"] for s in self.states], new))
            outputs.append(out)
        return numpy.concatenate(outputs, 1)

    def by_triton(self, calls, sequence, start=True, end=True):
        outputs = []
        for i, x in enumerate(calls):
            given = tritonclient.grpc.InferInput(self.input, list(x.shape), "FP32")
            given.set_data_from_numpy(x)
            flags = {"sequence_start": start and i == 0, "sequence_end": end and i + 1 == len(calls)}
            outputs.append(self.server.client.infer(self.name, [given], sequence_id=sequence, **flags).as_numpy("log_probs"))
        return numpy.concatenate(outputs, 1)

    def check(self):
        """The largest difference over two rounds of streams at once."""
        worst, steps = 0.0, 0
        with concurrent.futures.ThreadPoolExecutor(STREAMS) as pool:
            for turn in range(2):
                streams = [self.random(2 + 3 * i, 10 * turn + i) for i in range(STREAMS)]
                # In the first round, every other stream stops without an end.
                ends = [turn == 1 or i % 2 == 0 for i in range(STREAMS)]
                found = pool.map(lambda i, stream, end: self.by_triton(stream, i + 1, end=end), range(STREAMS), streams, ends)
                for stream, log_probs in zip(streams, found):
                    expected = self.alone(stream)
                    assert log_probs.shape == expected.shape, (log_probs.shape, expected.shape)
                    worst, steps = max(worst, float(abs(log_probs - expected).max())), steps + expected.shape[1]
        try:
            self.by_triton(self.random(1, 0), 999, start=False)
        except tritonclient.grpc.InferenceServerException as error:
            assert "START" in str(error), error
        else:
            raise AssertionError("a sequence without a start was taken")
        return worst, steps


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--hearken", default="hearken", help="the program")
    parser.add_argument("--keep-log", help="copy the server's log here")
    parser.add_argument("models", nargs="+")
    args = parser.parse_args()
    failed, names = False, []
    with tempfile.TemporaryDirectory() as folder:
        repository = os.path.join(folder, "repository")
        for i, path in enumerate(args.models):
            for kind, options in (("features", []), ("samples", ["--with-frontend"])):
                name = f"{kind}{i}"
                out = os.path.join(folder, name)
                command = [args.hearken, "export", path, "--for", "triton", "--name", name, *options, "-o", out]
                subprocess.run(command, check=True, capture_output=True)
                shutil.copytree(out, repository, dirs_exist_ok=True)
                names.append((path, name))
        server = Server(folder, repository)
        try:
            server.wait()
            print(f"Triton {server.client.get_server_metadata().version}, onnxruntime {onnxruntime.__version__}")
            for path, name in names:
                begin = len(server.lines())
                worst, steps = Model(server, repository, name).check()
                batches = [int(n) for n in re.findall(r"batch of (\d+)", "\n".join(server.lines()[begin:]))]
                bad = not worst <= TOLERANCE
                failed |= bad
                print(f"{path}: {name[:-1]}: {worst:.1e} over {steps} steps in batches of up to {max(batches)}{': TOO MUCH' if bad else ''}")
        finally:
            server.stop()
            if args.keep_log:
                shutil.copy(server.log, args.keep_log)
    sys.exit(failed)


main()
