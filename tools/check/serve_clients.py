#!/usr/bin/env python3
"""Checks `hearken serve` with existing clients, and with clients written from the protocols.

    python tools/check/serve_clients.py --hearken target/debug/hearken --model M.onnx audio/*.wav

Starts the server, sends each recording through every protocol (vosk-server's lockstep client, sherpa-onnx's
for its C++ and its Python server, hearken's own at three rates and encodings, an upload as in OpenAI's API),
several at the same time, and compares each text with `hearken transcribe`. Clients of other projects are used
if they are installed: vosk's (`pip install vosk`), OpenAI's (`openai`), sherpa-onnx's C++ program
(`sherpa-onnx-bin`).
Needs numpy, soundfile and websockets. Exit code 1 when a text differs.
"""

import argparse
import asyncio
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
import types
import urllib.request
import uuid

import numpy as np
import soundfile
import websockets


class Server:
    """A server on a free port."""

    def __init__(self, hearken, model, *options):
        command = [hearken, "serve", "--model", model, "--listen", "127.0.0.1:0", *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        if "listening on" not in line:
            raise SystemExit(f"the server did not start: {line}{self.process.stderr.read()}")
        self.http = line.split()[-1].rstrip("/")
        self.ws = self.http.replace("http", "ws", 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    def metrics(self):
        with urllib.request.urlopen(self.http + "/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return {k: float(v) for k, v in (l.rsplit(" ", 1) for l in lines if not l.startswith("#"))}


def s16(samples):
    return (np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes()


def pieces(data, size):
    return [data[i : i + size] for i in range(0, len(data), size)]


async def vosk(uri, samples, rate, seconds=0.2, config=True):
    """vosk-server's client: one reply for each message, in lockstep."""
    texts = []
    async with websockets.connect(uri, max_size=None) as socket:
        if config:
            await socket.send(json.dumps({"config": {"sample_rate": rate}}))
        for piece in pieces(s16(samples), 2 * int(rate * seconds)):
            await socket.send(piece)
            reply = json.loads(await socket.recv())
            assert ("partial" in reply) != ("text" in reply), reply
            texts.append(reply.get("text", ""))
        await socket.send('{"eof" : 1}')
        texts.append(json.loads(await socket.recv())["text"])
        try:
            await asyncio.wait_for(socket.recv(), 5)
            raise AssertionError("something after the last result")
        except websockets.ConnectionClosedOK:
            pass
    return " ".join(t for t in texts if t)


async def sherpa(uri, samples, ending, seconds=0.1, pace=0.0):
    """sherpa-onnx's client: sends and receives at the same time."""
    segments = {}

    async def receive(socket):
        async for message in socket:
            if message == "Done!":
                assert ending == "cpp"
                return
            result = json.loads(message)
            segments[result["segment"]] = result["text"]
        assert ending == "python", "closed without `Done!`"

    async with websockets.connect(uri, max_size=None) as socket:
        receiver = asyncio.create_task(receive(socket))
        for piece in pieces(samples.astype("<f4").tobytes(), 4 * int(16000 * seconds)):
            await socket.send(piece)
            await asyncio.sleep(pace)
        await socket.send("Done")
        await asyncio.wait_for(receiver, 60)
    return " ".join(t for _, t in sorted(segments.items()) if t)


async def own(uri, samples, rate, encoding="s16le", piece=1000, pace=0.0):
    """hearken's protocol; checks that times are in order."""
    data = s16(samples) if encoding == "s16le" else samples.astype("<f4").tobytes()
    texts = []

    async def receive(socket):
        before = 0.0
        async for message in socket:
            event = json.loads(message)
            assert event["type"] != "error", event
            if event["type"] in ("partial", "final"):
                assert event["text"] == " ".join(w["word"] for w in event["words"])
                for word in event["words"]:
                    assert word["start"] <= word["end"] <= event["end"] + 1e-3, event
            if event["type"] == "final":
                assert event["start"] >= before - 1e-3, "segments go back in time"
                before = event["end"]
                texts.append(event["text"])
            if event["type"] == "end":
                assert abs(event["seconds"] - len(samples) / rate) < 0.02, event
                return

    async with websockets.connect(uri, max_size=None) as socket:
        start = {"type": "start", "version": 1, "encoding": encoding, "sample_rate": rate}
        await socket.send(json.dumps(start))
        receiver = asyncio.create_task(receive(socket))
        for chunk in pieces(data, piece):
            await socket.send(chunk)
            await asyncio.sleep(pace)
        await socket.send('{"type":"finish"}')
        await asyncio.wait_for(receiver, 60)
    return " ".join(t for t in texts if t)


def upload(http, path, **fields):
    """A multipart POST, as OpenAI-style clients send it."""
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode()
        for k, v in fields.items()
    ]
    with open(path, "rb") as file:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{path}"\r\n\r\n'
        parts.append(head.encode() + file.read() + f"\r\n--{boundary}--\r\n".encode())
    request = urllib.request.Request(
        http + "/v1/audio/transcriptions",
        b"".join(parts),
        {"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    with urllib.request.urlopen(request) as answer:
        return answer.read().decode()


async def vosk_package(uri, samples):
    """vosk-transcriber's own client."""
    from vosk.transcriber.transcriber import Transcriber

    audio = asyncio.StreamReader()
    audio.feed_data(s16(samples))
    audio.feed_eof()
    myself = types.SimpleNamespace(args=types.SimpleNamespace(server=uri))
    process = types.SimpleNamespace(stdout=audio)
    results, _ = await Transcriber.recognize_stream_server(myself, process)
    return " ".join(r["text"] for r in results if r["text"])


def openai_package(http, path):
    """OpenAI's own client."""
    import openai

    client = openai.OpenAI(base_url=http + "/v1", api_key="anything")
    with open(path, "rb") as file:
        return client.audio.transcriptions.create(model="hearken", file=file).text


def sherpa_program(program, port, path):
    """sherpa-onnx's own client, in C++."""
    command = [program, "--server-ip=127.0.0.1", f"--server-port={port}", "--seconds-per-message=0.01",
               "--samples-per-message=1600", path]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    results = [json.loads(r) for r in re.findall(r"(\{\"text\".*\})$", run.stdout + run.stderr, re.M)]
    segments = {r["segment"]: r["text"] for r in results}
    assert results and results[-1]["is_eof"], run.stderr[-500:]
    return " ".join(t for _, t in sorted(segments.items()) if t)


def of_packages(server, path, samples, rate):
    """The clients of installed packages that can send this recording."""
    beside = os.path.join(os.path.dirname(sys.executable), "sherpa-onnx-online-websocket-client")
    program = shutil.which("sherpa-onnx-online-websocket-client") or (os.path.exists(beside) and beside)
    port = server.http.rsplit(":", 1)[1]
    found = []
    if importlib.util.find_spec("vosk") and rate == 16000:
        found.append(("vosk's own", path, vosk_package(server.ws, samples)))
    if importlib.util.find_spec("openai"):
        found.append(("OpenAI's own", path, asyncio.to_thread(openai_package, server.http, path)))
    if program and rate == 16000:
        found.append(("sherpa-onnx's own", path, asyncio.to_thread(sherpa_program, program, port, path)))
    return found


def transcribe(hearken, model, path):
    command = [hearken, "transcribe", "--model", model, path]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


async def hear_all(server, paths, expected):
    """Runs every protocol with all recordings at once; returns the number of texts that differ."""
    tasks = []
    for path in paths:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        samples = samples.mean(axis=1)
        tasks.append(("vosk", path, vosk(server.ws + "/", samples, rate)))
        tasks.append(("own s16le", path, own(server.ws + "/", samples, rate)))
        tasks.append(("own f32le, odd pieces", path, own(server.ws + "/v1/stream", samples, rate, "f32le", 4099)))
        if rate == 8000:
            tasks.append(("vosk without config", path, vosk(server.ws + "/vosk", samples, rate, 0.25, False)))
        if rate == 16000:
            tasks.append(("sherpa, C++ ending", path, sherpa(server.ws + "/", samples, "cpp")))
            tasks.append(("sherpa, Python ending", path, sherpa(server.ws + "/sherpa/python", samples, "python")))
        tasks += of_packages(server, path, samples, rate)
        tasks.append(("upload", path, asyncio.to_thread(upload, server.http, path, response_format="text")))
    texts = await asyncio.gather(*(task for _, _, task in tasks), return_exceptions=True)
    differing = 0
    for (name, path, _), text in zip(tasks, texts):
        text = text.strip() if isinstance(text, str) else repr(text)
        same = text == expected[path]
        differing += not same
        print(f"{'same ' if same else 'OTHER'} {name:24} {path}" + ("" if same else f"\n  {text}\n  {expected[path]}"))
    return differing


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hearken", default="target/release/hearken")
    parser.add_argument("--model", default="models/digits/digits.onnx")
    parser.add_argument("recordings", nargs="+")
    args = parser.parse_args()
    expected = {path: transcribe(args.hearken, args.model, path) for path in args.recordings}
    begun = time.monotonic()
    with Server(args.hearken, args.model) as server:
        differing = asyncio.run(hear_all(server, args.recordings, expected))
        verbose = json.loads(
            upload(
                server.http,
                args.recordings[0],
                response_format="verbose_json",
                **{"timestamp_granularities[]": "word"},
            )
        )
        assert " ".join(w["word"] for w in verbose["words"]) == verbose["text"], verbose
        server.process.terminate()
        code = server.process.wait(20)
        assert code == 0, f"exit code {code} after SIGTERM"
    print(f"{differing} texts differ ({time.monotonic() - begun:.1f} s)")
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
