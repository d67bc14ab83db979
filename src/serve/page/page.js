// The page of `hearken serve`: transcribes the microphone and recordings, and shows the network.

import { Kept } from "./kept.js";
import { openMicrophone, release } from "./microphone.js";
import { $, say, complain, microphoneProblem, showLevel } from "./notices.js";
import { Pictures, paint } from "./pictures.js";
import { transcribe } from "./recordings.js";
import { PATIENCE, admitted, connect, toInt16, useToken, whyClosed } from "./server.js";
import { Line, clear, go, stopPlaying } from "./transcript.js";

const QUIET = 2000; // milliseconds without a message from the server before a ping is sent
const UNANSWERED = 4000; // milliseconds without a reply to the ping before the user is warned

let session = null; // the microphone's
let transcribing = ""; // the recording's name

// Shows the status when no request is pending.
function rest(otherwise = "Ready.") {
  if (session) say(session.ending ? "Waiting for the last words…" : "Listening.");
  else if (transcribing) say(`Transcribing ${transcribing}…`);
  else say($("token-form").hidden ? otherwise : "A token is needed.");
}

$("token-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  useToken($("token").value.trim());
  if (await admitted()) {
    complain("");
    $("listen").focus();
  }
  rest();
});

// ---------------------------------------------------------------- listening

const MOST_LATE = 2; // seconds of audio that may wait to be sent

async function start() {
  complain("");
  stopPlaying();
  $("listen").disabled = true;
  say("Asking for the microphone…");
  try {
    if (!(await admitted())) return;
    let microphone;
    try {
      microphone = await openMicrophone();
    } catch (error) {
      return complain(microphoneProblem(error));
    }
    say("Connecting…");
    const rate = microphone.context.sampleRate;
    try {
      const { socket, ready } = await connect(rate, true);
      begin(microphone, socket, ready, rate);
    } catch (error) {
      release(microphone);
      complain(error.problem ?? `The microphone does not work: ${error.message}.`);
    }
  } finally {
    $("listen").disabled = false;
    rest("Not listening.");
  }
}

function begin(microphone, socket, ready, rate) {
  const kept = new Kept(rate);
  const recording = (context, from, to) => kept.slice(context, from, to);
  session = {
    microphone, socket, recording, missed: 0, ending: false,
    asked: 0, // when the last ping was sent; 0 if a message was received since
    heard: performance.now(), // when the last message was received
    silent: false, // whether the user was warned that the server does not answer
    line: new Line(recording),
    pictures: new Pictures(rate, ready, "the microphone"),
  };
  const mine = session;
  microphone.node.port.onmessage = ({ data }) => {
    if (mine.ending) return;
    kept.push(data);
    mine.pictures.push(data);
    showLevel(data);
    if (socket.bufferedAmount > MOST_LATE * rate * 2) {
      mine.missed += data.length;
      if (!mine.silent) complain(`The server or the network is too slow: ${(mine.missed / rate).toFixed(1)} s were not sent.`);
    } else {
      socket.send(toInt16(data));
    }
  };
  microphone.stream.getAudioTracks()[0].onended = () => {
    complain("The microphone was disconnected. The text so far is above.");
    stop();
  };
  socket.onmessage = (event) => {
    mine.heard = performance.now();
    mine.asked = 0;
    if (mine.silent) complain("");
    mine.silent = false;
    hear(mine, JSON.parse(event.data));
  };
  socket.onclose = async (event) => {
    finished(mine);
    if (event.code === 1000 && mine.ended) return;
    const problem = await whyClosed(event);
    if (!session) complain(problem);
  };
  mine.watch = setInterval(() => watch(mine), 1000);
  $("listen").classList.add("on");
  $("listen-text").textContent = "Stop";
  rest();
}

// Pings the server when it is quiet, which it also is while the user is silent, and warns if it does not reply.
function watch(mine) {
  if (mine.ending) return;
  const now = performance.now();
  if (mine.asked && now - mine.asked > UNANSWERED) {
    mine.silent = true;
    complain("The server does not answer. What is said now may be lost.");
  } else if (!mine.asked && now - mine.heard > QUIET) {
    mine.asked = now;
    mine.socket.send('{"type":"ping"}');
  }
}

function hear(mine, message) {
  switch (message.type) {
    case "partial": return mine.line.show(message.text);
    case "final":
      if (message.words.length === 0) return mine.line.show("");
      mine.line.add(message.words);
      mine.line = new Line(mine.recording);
      return;
    case "trace": return mine.pictures.trace(message);
    case "end": mine.ended = true; return;
  }
}

function stop() {
  if (!session) return;
  const mine = session;
  // The second Stop does not wait for the last results.
  if (mine.ending) return abandon(mine, "");
  mine.ending = true;
  rest();
  release(mine.microphone);
  if (mine.socket.readyState === WebSocket.OPEN) mine.socket.send('{"type":"finish"}');
  mine.timer = setTimeout(() => abandon(mine, "The server does not answer: the last words are missing."), PATIENCE);
}

// Closes the connection without waiting for the server.
function abandon(mine, problem) {
  mine.socket.onclose = mine.socket.onmessage = null;
  mine.socket.close();
  if (problem) complain(problem);
  finished(mine);
}

function finished(mine) {
  clearInterval(mine.watch);
  clearTimeout(mine.timer);
  mine.ending = true;
  release(mine.microphone);
  if (mine.line.isEmpty()) mine.line.element.remove();
  if (session === mine) session = null;
  $("level").value = -60;
  $("listen").classList.remove("on");
  $("listen-text").textContent = "Listen";
  rest("Not listening.");
}

requestAnimationFrame(paint);

// ---------------------------------------------------------------- recordings

async function open(file) {
  complain("");
  if (!(await admitted())) return rest();
  transcribing = file.name;
  rest();
  if (!session) say(`Transcribing ${file.name}…`);
  try {
    await transcribe(file, { isFree: () => !session });
  } finally {
    transcribing = "";
    rest();
  }
}

$("file").addEventListener("change", async () => {
  for (const file of $("file").files) await open(file);
  $("file").value = "";
});

for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").hidden = false;
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("drop").hidden = true;
});
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  $("drop").hidden = true;
  const files = [...event.dataTransfer.files];
  if (files.length === 0) complain("What was dropped is not a file.");
  for (const file of files) await open(file);
});

// ---------------------------------------------------------------- buttons and keys

// Shows the hint for the pointing device that was used last; at first, for the primary one.
function showHintFor(pointer) {
  document.body.classList.toggle("by-touch", pointer === "touch");
}
showHintFor(matchMedia("(pointer: coarse)").matches ? "touch" : "mouse");
document.addEventListener("pointerdown", (event) => showHintFor(event.pointerType));

$("listen").addEventListener("click", () => (session ? stop() : start()));
$("clear").addEventListener("click", () => {
  complain("");
  clear(session?.line);
  // So that Space starts listening.
  $("listen").focus();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = ["INPUT", "BUTTON"].includes(event.target.tagName);
  if (event.key === "Escape") {
    if (!stopPlaying()) stop();
  } else if (event.key === " " && !typing) {
    event.preventDefault();
    $("listen").click();
  } else if (event.target.tagName !== "INPUT" && go(event.key)) {
    event.preventDefault();
  }
});

window.addEventListener("pagehide", () => session?.socket.close());
admitted().then((in_) => rest(in_ ? "Ready." : "Not listening."));
