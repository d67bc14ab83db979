"""Sends a recording to `hearken serve` at the speed of speech, and prints its words as they come.

pip install websockets
python websocket_client.py recording.wav [ws://127.0.0.1:2700/v1/stream]
"""

import asyncio
import json
import sys
import wave

from websockets.asyncio.client import connect


async def send(socket, file: wave.Wave_read) -> None:
    step = file.getframerate() // 10
    while chunk := file.readframes(step):
        await socket.send(chunk)
        await asyncio.sleep(0.1)
    await socket.send(json.dumps({"type": "finish"}))


async def main(path: str, address: str) -> None:
    with wave.open(path) as file:
        if (file.getsampwidth(), file.getnchannels()) != (2, 1):
            sys.exit("expected a WAV file of 16 bits with one channel")
        async with connect(address) as socket:
            start = {"type": "start", "version": 1, "encoding": "s16le", "sample_rate": file.getframerate()}
            await socket.send(json.dumps(start))
            sending = asyncio.create_task(send(socket, file))
            async for message in socket:
                event = json.loads(message)
                if event["type"] in ("partial", "final"):
                    print(event["type"], event["text"], flush=True)
                elif event["type"] == "error":
                    sys.exit(event["message"])
            await sending


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "ws://127.0.0.1:2700/v1/stream"))
