// The page without a server: recognizes the microphone and recordings in the browser. bindings/web/build.sh copies
// the package and the modules of the page of `hearken serve` that it shares beside it.

import { Recognizer } from "./hearken/index.js";
import { Kept } from "./kept.js";
import { $, say, complain, microphoneProblem, showLevel } from "./notices.js";
import { Line, clear, go, stopPlaying } from "./transcript.js";

const MOST_LATE = 3; // seconds of audio that may wait for the recognizer before the user is warned
const MODELS = {
  digits: { model: "models/digits.onnx" },
  phrases: { model: "models/english.onnx", pronunciations: "models/english.pron" },
};

let recognizer = null;
let loading = 0; // the number of the load that counts: the last
let session = null; // the microphone's
let transcribing = ""; // the recording's name

// Shows the status when nothing is pending.
function rest(otherwise = "Ready.") {
  if (session) say(session.ending ? "Waiting for the last words…" : "Listening.");
  else if (transcribing) say(`Transcribing ${transcribing}…`);
  else if (recognizer) say(otherwise);
}

// ---------------------------------------------------------------- the words

async function load(words) {
  const mine = ++loading;
  await stop();
  recognizer?.close();
  recognizer = null;
  $("listen").disabled = true;
  $("notes").hidden = true;
  complain("");
  say("Loading…");
  try {
    const created = await Recognizer.create({
      ...MODELS[words],
      phrases: words === "phrases" ? $("phrases").value : undefined,
      onProgress: (bytes) => {
        if (mine === loading) say(`Loading… ${(bytes / 1e6).toFixed(1)} MB`);
      },
    });
    if (mine !== loading) return created.close();
    recognizer = created;
    $("listen").disabled = false;
    $("notes").textContent = created.notes.join("\n");
    $("notes").hidden = created.notes.length === 0;
    rest();
  } catch (error) {
    if (mine !== loading) return;
    say("Not ready.");
    complain(error.message);
  }
}

for (const choice of document.querySelectorAll("input[name=words]")) {
  choice.addEventListener("change", () => {
    $("phrases-form").hidden = choice.value !== "phrases";
    load(choice.value);
  });
}

$("phrases-form").addEventListener("submit", (event) => {
  event.preventDefault();
  load("phrases");
});

async function showSize() {
  const sizes = await Promise.all(
    Object.values(MODELS.phrases).map(async (file) => {
      const answer = await fetch(file, { method: "HEAD" });
      return answer.ok ? Number(answer.headers.get("content-length")) : NaN;
    }),
  );
  const megabytes = sizes.reduce((sum, size) => sum + size, 0) / 1e6;
  if (megabytes > 0) $("size").textContent = `(loads ${megabytes.toFixed(1)} MB)`;
}

// ---------------------------------------------------------------- listening

async function start() {
  complain("");
  stopPlaying();
  $("listen").disabled = true;
  say("Asking for the microphone…");
  const mine = { ending: false, kept: null, late: false };
  mine.recording = (context, from, to) => mine.kept?.slice(context, from, to) ?? null;
  mine.line = new Line(mine.recording);
  try {
    mine.listening = await recognizer.listen({
      onEvent: (event) => show(mine, event),
      onError: (error) => {
        finished(mine);
        complain(`Listening ended: ${error.message}. The text so far is above.`);
      },
      onSamples: (samples, rate) => {
        mine.kept ??= new Kept(rate);
        mine.kept.push(samples);
        showLevel(samples);
        const late = mine.listening?.waitingSeconds > MOST_LATE;
        if (late !== mine.late) complain(late ? "This device is too slow: the words come late." : "");
        mine.late = late;
      },
    });
    session = mine;
    $("listen").classList.add("on");
    $("listen-text").textContent = "Stop";
  } catch (error) {
    mine.line.element.remove();
    complain(microphoneProblem(error));
  } finally {
    $("listen").disabled = false;
    rest("Not listening.");
  }
}

function show(mine, { type, text, words, phrases }) {
  if (type === "partial") return mine.line.show(text);
  if (words.length === 0) return mine.line.show("");
  mine.line.add(words);
  addMeaning(mine.line, phrases);
  mine.line = new Line(mine.recording);
}

// Adds intents and slots of phrases.
function addMeaning(line, phrases = []) {
  for (const { text, intent, slots = [] } of phrases) {
    const parts = [intent, ...slots.map(({ name, value }) => `${name}: ${value}`)].filter(Boolean);
    line.remark(`→ ${parts.length > 0 ? parts.join(", ") : text} `);
  }
}

async function stop() {
  const mine = session;
  if (!mine || mine.ending) return;
  mine.ending = true;
  rest();
  try {
    await mine.listening.stop();
  } catch (error) {
    complain(`The last words are missing: ${error.message}.`);
  }
  finished(mine);
}

function finished(mine) {
  if (mine.line.isEmpty()) mine.line.element.remove();
  if (session === mine) session = null;
  $("level").value = -60;
  $("listen").classList.remove("on");
  $("listen-text").textContent = "Listen";
  rest("Not listening.");
}

// ---------------------------------------------------------------- recordings

async function open(file) {
  complain("");
  if (!recognizer) return complain("Recordings can be opened when the recognizer is loaded.");
  transcribing = file.name;
  rest();
  let decoded = null; // a promise of an AudioBuffer, or of null if the browser cannot decode the file
  const play = async (context, from, to) => {
    decoded ??= file.arrayBuffer().then((bytes) => context.decodeAudioData(bytes)).catch(() => null);
    const audio = await decoded;
    if (!audio) complain("This browser cannot play this kind of recording.");
    return audio && slice(context, audio, from, to);
  };
  try {
    const result = await recognizer.transcribe(file, {
      onProgress: ({ seconds }) => {
        if (!session) say(`Transcribing ${file.name}… ${Math.round(seconds)} s`);
      },
    });
    const line = new Line(play, `${file.name}, ${result.duration.toFixed(1)} s`);
    const words = result.segments.flatMap((segment) => segment.words);
    if (words.length > 0) line.add(words);
    else line.remark("(no words were recognized) ");
    addMeaning(line, result.segments.flatMap((segment) => segment.phrases ?? []));
    for (const warning of result.warnings) line.remark(`(${warning}) `);
  } catch (error) {
    complain(error.message);
  } finally {
    transcribing = "";
    rest();
  }
}

function slice(context, audio, from, to) {
  const rate = audio.sampleRate;
  const first = Math.floor(from * rate), count = Math.min(Math.floor((to - from) * rate), audio.length - first);
  if (count < 1) return null;
  const buffer = context.createBuffer(audio.numberOfChannels, count, rate);
  for (let c = 0; c < audio.numberOfChannels; c++) {
    buffer.copyToChannel(audio.getChannelData(c).subarray(first, first + count), c);
  }
  return buffer;
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
  const { tagName } = event.target;
  const writing = ["INPUT", "TEXTAREA"].includes(tagName);
  if (event.key === "Escape") {
    if (!stopPlaying()) stop();
  } else if (event.key === " " && !writing && tagName !== "BUTTON") {
    event.preventDefault();
    $("listen").click();
  } else if (!writing && go(event.key)) {
    event.preventDefault();
  }
});

// Browsers have service workers only on pages loaded by https or from this computer.
async function keepOffline() {
  await navigator.serviceWorker?.register("offline.js");
  await navigator.serviceWorker?.ready;
  if (navigator.serviceWorker) $("model").textContent += " It works offline, too.";
}

load("digits");
showSize().catch(() => {});
keepOffline().catch(() => {});
