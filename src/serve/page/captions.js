// Live captions of the microphone, for a browser source of OBS and other programs: no buttons, transparent.
//
// Settings are in the fragment of the address, which browsers do not send: /captions#lines=3&size=64&seconds=6

import { openMicrophone, release } from "./microphone.js";
import { $, complain, microphoneProblem, setRetry } from "./notices.js";
import { connect, toInt16, useToken, whyClosed } from "./server.js";

const RETRY = 3000; // milliseconds before the next attempt to connect
const MOST_LATE = 2; // seconds of audio that may wait to be sent

const settings = new URLSearchParams(location.hash.slice(1));

// A number of the settings within limits, or its default.
function number(name, otherwise, least, most) {
  const value = Number(settings.get(name) ?? otherwise);
  return Number.isFinite(value) ? Math.min(most, Math.max(least, value)) : otherwise;
}

const lines = number("lines", 2, 1, 20);
const clearAfter = 1000 * number("seconds", 4, 1, 3600);
document.documentElement.style.setProperty("--lines", Math.round(lines));
document.documentElement.style.setProperty("--size", `${number("size", 48, 8, 400)}px`);
if (settings.has("token")) useToken(settings.get("token"));

// ---------------------------------------------------------------- text

let line = null; // the utterance that is being spoken
let timer = 0;

// Shows the text of the current utterance; each utterance begins a line.
function show(text) {
  if (text === (line?.textContent ?? "")) return;
  if (!line) {
    line = document.createElement("p");
    $("captions").append(line);
    while ($("captions").childElementCount > lines) $("captions").firstChild.remove();
  }
  line.textContent = text;
  clearTimeout(timer);
  timer = setTimeout(clear, clearAfter);
}

function clear() {
  $("captions").replaceChildren();
  line = null;
}

function end(text) {
  show(text);
  if (line && !line.textContent) line.remove();
  line = null;
}

// ---------------------------------------------------------------- listening

// Sends the microphone over one connection; returns when it has ended, with the reason.
async function stream(microphone) {
  const rate = microphone.context.sampleRate;
  const { socket } = await connect(rate, false);
  complain("");
  let missed = 0;
  microphone.node.port.onmessage = ({ data }) => {
    if (socket.readyState !== WebSocket.OPEN) return;
    if (socket.bufferedAmount > MOST_LATE * rate * 2) {
      missed += data.length;
      complain(`The server or the network is too slow: ${(missed / rate).toFixed(1)} s were not sent.`);
    } else {
      if (missed) complain("");
      missed = 0;
      socket.send(toInt16(data));
    }
  };
  const closed = await new Promise((resolve) => {
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === "partial") show(message.text);
      if (message.type === "final") end(message.text);
    };
    socket.onclose = resolve;
    microphone.stream.getAudioTracks()[0].onended = () => {
      socket.onclose = null;
      socket.close();
      resolve(null);
    };
  });
  // So that a new connection does not continue the line.
  line = null;
  if (!closed) return "The microphone was disconnected. Trying again.";
  return closed.code === 1001 ? "The server was stopped. Trying again." : whyClosed(closed);
}

function problemOf(error) {
  if (error.name === "NotAllowedError") {
    return "Access to the microphone was refused. Allow it for this page; start OBS with --enable-media-stream --use-fake-ui-for-media-stream.";
  }
  return microphoneProblem(error);
}

async function run() {
  setRetry("Trying again.");
  for (;;) {
    let microphone;
    try {
      microphone = await openMicrophone();
      complain(await stream(microphone));
    } catch (error) {
      complain(error.problem ?? problemOf(error));
    }
    if (microphone) release(microphone);
    await new Promise((resolve) => setTimeout(resolve, RETRY));
  }
}

run();
