#!/usr/bin/env python3
"""Checks what `packaging/` contains for servers, with the real programs.

    python tools/check/package_servers.py --hearken target/release/hearken audio/pi.wav audio/countdown.wav

addon: runs the Home Assistant add-on's run.sh as in its container, with a stand-in for the supervisor, and uses the
server by the package `wyoming`. rolling: two servers behind haproxy with the configuration of packaging/compose (only
addresses replaced), clients that stream in real time, and roll.sh, which restarts both: every text must be that of
`hearken transcribe`. Then once more without waiting for streams, which must cut some, so that the check can fail.
Prometheus, with the configuration there, must read the metrics of both servers by the token. Needs haproxy, busybox, jq,
curl, prometheus (PROMETHEUS is its command), and the Python packages websockets, soundfile and wyoming. Exit code 1 if
something differs.
"""

import argparse
import asyncio
import collections
import contextlib
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

import soundfile
import websockets
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.info import Describe, Info

PACKAGING = Path(__file__).resolve().parents[2] / "packaging"
CLIENTS = 6
TOKEN = "secret-of-this-check"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def transcribe(hearken, path, *options):
    command = [hearken, "transcribe", *options, str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().replace("\n", " ")


def await_health(port):
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"no server on port {port}")


# ---------------------------------------------------------------- the add-on


class Supervisor(http.server.BaseHTTPRequestHandler):
    """The part of Home Assistant's supervisor that registers services."""

    received = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append((self.path, self.headers["Authorization"], json.loads(body)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


async def ask_wyoming(port, clip):
    samples, rate = soundfile.read(clip, dtype="int16")
    async with AsyncTcpClient("127.0.0.1", port) as client:
        await client.write_event(Describe().event())
        info = Info.from_event(await client.read_event())
        await client.write_event(Transcribe(language="en").event())
        await client.write_event(AudioStart(rate=rate, width=2, channels=1).event())
        for at in range(0, len(samples), 1600):
            chunk = AudioChunk(rate=rate, width=2, channels=1, audio=samples[at : at + 1600].tobytes())
            await client.write_event(chunk.event())
        await client.write_event(AudioStop().event())
        while True:
            event = await client.read_event()
            if Transcript.is_type(event.type):
                return info, Transcript.from_event(event).text


def addon(hearken, clip):
    supervisor = http.server.HTTPServer(("127.0.0.1", 0), Supervisor)
    threading.Thread(target=supervisor.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        phrases = Path(folder, "words.txt")
        phrases.write_text("{digit} {digit} {digit} {digit} {digit}\n{digit} = zero|one|two|three|four|five|six|seven|eight|nine\n")
        for options, expected in [
            ({"model": "digits", "phrases": "", "language": "en"}, transcribe(hearken, clip)),
            (
                {"model": "english", "phrases": "words.txt", "language": "en", "endpoint_silence": 0.8},
                transcribe(hearken, clip, "--phrases", str(phrases)),
            ),
        ]:
            wyoming, page = free_port(), free_port()
            Path(folder, "options.json").write_text(json.dumps(options))
            Supervisor.received.clear()
            environment = os.environ | {
                "OPTIONS": f"{folder}/options.json", "FOLDER": folder, "HEARKEN": hearken,
                "SUPERVISOR": f"http://127.0.0.1:{supervisor.server_port}", "SUPERVISOR_TOKEN": "secret",
                "LISTEN": f"127.0.0.1:{wyoming}", "HTTP": f"127.0.0.1:{page}",
            }
            script = PACKAGING / "home-assistant/hearken/run.sh"
            server = subprocess.Popen([script], env=environment, stderr=subprocess.DEVNULL)
            try:
                await_health(page)
                info, text = asyncio.run(ask_wyoming(wyoming, clip))
                for _ in range(100):
                    if Supervisor.received:
                        break
                    time.sleep(0.1)
            finally:
                server.send_signal(signal.SIGTERM)
                code = server.wait(30)
            model = info.asr[0].models[0]
            assert info.asr[0].name == "hearken" and model.languages == ["en"], info
            uri = f"tcp://{socket.gethostname()}:{wyoming}"
            message = {"service": "wyoming", "config": {"uri": uri}}
            assert Supervisor.received == [("/discovery", "Bearer secret", message)], Supervisor.received
            assert text == expected and text, (text, expected)
            assert code == 0, f"SIGTERM ended the add-on with {code}"
            print(f"add-on with {options}: registered, {text!r}, ended with 0 by SIGTERM")
    supervisor.shutdown()


# ---------------------------------------------------------------- the rolling restart

RESTART = """#!/bin/sh
kill -TERM "$(cat {folder}/$1.pid)"
while kill -0 "$(cat {folder}/$1.pid)" 2>/dev/null; do sleep 0.1; done
exec {folder}/start.sh "$1"
"""
# In a session of its own, so that a new server outlives the script.
START = """#!/bin/sh
case $1 in a) port={a} ;; b) port={b} ;; esac
setsid {hearken} serve --listen 127.0.0.1:$port --token-file {folder}/token >>{folder}/$1.log 2>&1 </dev/null & echo $! >{folder}/$1.pid
"""


def await_metrics(folder, ports):
    """Reads the metrics of both servers by Prometheus, until their sums show that each had streams."""
    text = (PACKAGING / "compose/prometheus.yml").read_text()
    for old, new in [
        ('"a:2700", "b:2700"', f'"127.0.0.1:{ports["a"]}", "127.0.0.1:{ports["b"]}"'),
        ("/run/secrets/token", f"{folder}/token"), ("15s", "1s"),
    ]:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    Path(folder, "prometheus.yml").write_text(text)
    command = [
        os.environ.get("PROMETHEUS", "prometheus"), f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/prometheus", f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
    ]
    query = urllib.parse.quote("hearken_streams_total > 0 and on(instance) up == 1")
    address = f"http://127.0.0.1:{ports['prometheus']}/api/v1/query?query={query}"
    with open(f"{folder}/prometheus.log", "w") as log:
        prometheus = subprocess.Popen(command, stderr=log)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=1) as answer:
                result = json.load(answer)["data"]["result"]
                if len(result) == 2:
                    return [(one["metric"]["instance"], int(one["value"][1])) for one in result]
            time.sleep(0.1)
        raise SystemExit("Prometheus does not have the metrics:\n" + Path(folder, "prometheus.log").read_text())
    finally:
        prometheus.terminate()
        prometheus.wait()


class Clients:
    """Clients that stream recordings in real time, one after another, by way of the balancer."""

    def __init__(self, port, expected):
        self.url = f"ws://127.0.0.1:{port}/v1/stream?token={TOKEN}"
        self.expected = expected
        self.stop = False
        self.results = collections.Counter()
        self.wrong = []

    async def stream(self, clip):
        samples, rate = soundfile.read(clip, dtype="int16")
        async with websockets.connect(self.url, open_timeout=20) as ws:
            await ws.send(json.dumps({"type": "start", "version": 1, "sample_rate": rate, "partials": False}))

            async def receive():
                words = []
                async for message in ws:
                    event = json.loads(message)
                    if event["type"] == "final" and event["text"]:
                        words.append(event["text"])
                    if event["type"] == "end":
                        return " ".join(words)
                return f"cut ({ws.close_code}) after: {' '.join(words)}"

            receiver = asyncio.create_task(receive())
            begin = asyncio.get_running_loop().time()
            step = rate // 10
            for i, at in enumerate(range(0, len(samples), step)):
                if receiver.done():
                    break
                await ws.send(samples[at : at + step].tobytes())
                await asyncio.sleep(begin + 0.1 * (i + 1) - asyncio.get_running_loop().time())
            else:
                await ws.send('{"type":"finish"}')
            return await receiver

    async def run(self, number):
        clips = list(self.expected)
        count = 0
        # Clients begin at different times.
        await asyncio.sleep(0.37 * number)
        while not self.stop:
            clip = clips[(number + count) % len(clips)]
            count += 1
            try:
                text = await self.stream(clip)
            except (OSError, websockets.WebSocketException) as error:
                text = f"cut: {error!r}"
            right = text == self.expected[clip]
            self.results["right" if right else "wrong"] += 1
            if not right:
                self.wrong.append(f"{Path(clip).name}: {text!r}")


async def roll(clients, environment):
    tasks = [asyncio.create_task(clients.run(number)) for number in range(CLIENTS)]
    await asyncio.sleep(2)
    script = await asyncio.create_subprocess_exec(PACKAGING / "compose/roll.sh", env=environment)
    code = await asyncio.wait_for(script.wait(), 300)
    await asyncio.sleep(2)
    clients.stop = True
    await asyncio.gather(*tasks)
    assert code == 0, f"roll.sh ended with {code}"


def rolling(hearken, clips):
    expected = {clip: transcribe(hearken, clip) for clip in clips}
    ports = {name: free_port() for name in ("a", "b", "front", "admin", "prometheus")}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "token").write_text(TOKEN + "\n")
        for name, text in [("start.sh", START), ("restart.sh", RESTART)]:
            path = Path(folder, name)
            path.write_text(text.format(folder=folder, hearken=hearken, **ports))
            path.chmod(0o755)
        text = (PACKAGING / "compose/haproxy.cfg").read_text()
        for pattern, port in [
            (r"a:2700 resolvers docker", "a"), (r"b:2700 resolvers docker", "b"),
            (r"(?<=bind ):2700", "front"), (r"127\.0\.0\.1:9999", "admin"),
        ]:
            text, count = re.subn(pattern, f"127.0.0.1:{ports[port]}", text)
            assert count == 1, pattern
        Path(folder, "haproxy.cfg").write_text(text)
        balancer = None
        try:
            for name in "ab":
                subprocess.run([f"{folder}/start.sh", name], check=True)
                await_health(ports[name])
            with open(f"{folder}/haproxy.log", "w") as log:
                balancer = subprocess.Popen(["haproxy", "-db", "-f", f"{folder}/haproxy.cfg"], stderr=log, stdout=log)
            await_health(ports["front"])
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{ports['front']}/metrics")
                raise SystemExit("the balancer shows the metrics")
            except urllib.error.HTTPError as error:
                assert error.code == 403, error
            environment = os.environ | {
                "HAPROXY": f"busybox nc 127.0.0.1 {ports['admin']}", "RESTART": f"{folder}/restart.sh",
            }
            before = [Path(folder, f"{name}.pid").read_text() for name in "ab"]
            clients = Clients(ports["front"], expected)
            asyncio.run(roll(clients, environment))
            after = [Path(folder, f"{name}.pid").read_text() for name in "ab"]
            print(f"rolling restart: {CLIENTS} clients, {clients.results['right']} streams right, {clients.results['wrong']} wrong")
            assert not clients.wrong, clients.wrong
            assert clients.results["right"] > CLIENTS and not set(before) & set(after), (clients.results, before, after)
            print(f"Prometheus: streams since the restarts: {await_metrics(folder, ports)}")
            # The same without waiting for streams.
            clients = Clients(ports["front"], expected)
            asyncio.run(roll(clients, environment | {"DRAIN": "0"}))
            print(f"without draining: {clients.results['right']} streams right, {clients.results['wrong']} cut: {clients.wrong[:3]}")
            assert clients.wrong, "no stream was cut: the check above shows nothing"
        finally:
            if balancer:
                balancer.terminate()
                balancer.wait()
            for name in "ab":
                pid = Path(folder, f"{name}.pid")
                if pid.exists():
                    os.kill(int(pid.read_text()), signal.SIGTERM)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hearken", default="target/release/hearken")
    parser.add_argument("clips", nargs="+", help="16 kHz, of digits")
    args = parser.parse_args()
    hearken = os.path.realpath(args.hearken)
    addon(hearken, args.clips[0])
    rolling(hearken, args.clips)


if __name__ == "__main__":
    main()
