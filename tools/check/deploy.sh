#!/usr/bin/env bash
# Tests the examples of docs/serve.md with the real programs: nginx runs the reverse proxy of that page (only
# ports and file names replaced), and clients connect through it by TLS; systemd-analyze reads the unit.
#
#   tools/check/deploy.sh target/release/hearken audio/pi.wav "three one four one five"
#
# Needs nginx, openssl, curl, systemd-analyze, and Python with websockets and soundfile.
set -euo pipefail
hearken=$(realpath "$1") audio=$(realpath "$2") expected=$3
docs=$(realpath "$(dirname "$0")/../../docs/serve.md")
place=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$place"' EXIT
cd "$place"
block() { awk -v fence='```'"$1" '$0 == fence { on = 1; next } /^```$/ { on = 0 } on' "$docs"; }

openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=speech.example.org \
    -addext subjectAltName=DNS:speech.example.org -keyout key.pem -out cert.pem 2>/dev/null
echo secret-of-the-test > token
"$hearken" serve --listen 127.0.0.1:27011 --token-file token --allow-origin https://speech.example.org 2>server.log &
{
    echo "worker_processes 1; daemon off; pid $place/nginx.pid; error_log $place/error.log;"
    echo "events {} http { access_log off;"
    for kind in client_body proxy fastcgi uwsgi scgi; do echo "${kind}_temp_path $place/$kind;"; done
    block nginx | sed -e "s,/etc/ssl/speech.pem,$place/cert.pem," -e "s,/etc/ssl/speech.key,$place/key.pem," \
        -e 's,listen 443,listen 127.0.0.1:27443,' -e 's,127.0.0.1:2700;,127.0.0.1:27011;,'
    echo "}"
} > nginx.conf
nginx -p "$place" -c nginx.conf 2>nginx.log &
for _ in $(seq 50); do sleep 0.2; curl -sk https://127.0.0.1:27443/health >/dev/null && break; done

fail() { echo "FAILED: $1" >&2; cat server.log error.log nginx.log >&2; exit 1; }
ask() { curl -s --cacert cert.pem --resolve speech.example.org:27443:127.0.0.1 "$@"; }
url=https://speech.example.org:27443
heard=$(ask -H 'Authorization: Bearer secret-of-the-test' -F "file=@$audio" "$url/v1/audio/transcriptions")
[[ $heard == *"$expected"* ]] || fail "a file by HTTP gave $heard"
code=$(ask -o /dev/null -w '%{http_code}' -F "file=@$audio" "$url/v1/audio/transcriptions")
[[ $code == 401 ]] || fail "without the token the answer was $code"
code=$(ask -o /dev/null -w '%{http_code}' "$url/metrics")
[[ $code == 403 ]] || fail "the metrics are shown to everybody: $code"
python3 - "$audio" "$expected" <<'PYTHON' || fail "a stream by websocket"
import asyncio, json, ssl, sys
import soundfile, websockets

async def main():
    samples, rate = soundfile.read(sys.argv[1], dtype="int16")
    context = ssl.create_default_context(cafile="cert.pem")
    headers = {"Authorization": "Bearer secret-of-the-test", "Origin": "https://speech.example.org"}
    async with websockets.connect("wss://speech.example.org:27443/", host="127.0.0.1", port=27443, ssl=context,
                                  additional_headers=headers) as ws:
        await ws.send(json.dumps({"config": {"sample_rate": rate}}))
        words = []
        for at in range(0, len(samples), 1600):
            await ws.send(samples[at : at + 1600].tobytes())
            answer = json.loads(await ws.recv())
            words += answer.get("text", "").split()
        await ws.send('{"eof" : 1}')
        words += json.loads(await ws.recv()).get("text", "").split()
        assert " ".join(words) == sys.argv[2], words

asyncio.run(main())
PYTHON
echo "nginx $(nginx -v 2>&1 | sed 's,.*/,,'): a file, a stream, the token and the metrics are as the page says"

block ini | grep -v '^#' | sed "s,/usr/local/bin/hearken,$hearken," > hearken.service
complaints=$(systemd-analyze verify --man=no ./hearken.service 2>&1 | grep hearken.service || true)
[[ -z $complaints ]] || fail "systemd: $complaints"
echo "systemd $(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p'): the unit is read without complaint"
