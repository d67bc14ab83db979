// The page of `hearken serve`: microphone or file in, text out, and the network at work.

const $ = (id) => document.getElementById(id);

// ---------------------------------------------------------------- what is said to people

function say(text) {
  $("status").textContent = text;
}

function complain(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

function microphoneProblem(error) {
  switch (error.name) {
    case "NotAllowedError":
    case "SecurityError":
      return "The microphone was refused. Allow it for this page in the browser's address bar, then press Listen again.";
    case "NotFoundError":
    case "OverconstrainedError":
      return "No microphone was found. Plug one in, then press Listen again; or open a recording.";
    case "NotReadableError":
    case "AbortError":
      return "The microphone cannot be read: another program may be using it.";
    default:
      return `The microphone does not work: ${error.message || error.name}.`;
  }
}

function closeProblem(event) {
  const reason = event.reason ? ` (${event.reason})` : "";
  switch (event.code) {
    case 1001: return "The server is being stopped. What was said so far is above.";
    case 1008: return `The server ended the connection${reason}. Press Listen to begin again.`;
    case 1011: return `The recogniser failed${reason}.`;
    case 1013: return "The server is full at the moment. Try again in a little while.";
    case 1006: return "The server has left: it was stopped, or the network is down. Press Listen to try again.";
    default: return `The connection was closed with code ${event.code}${reason}.`;
  }
}

// ---------------------------------------------------------------- access

let token = sessionStorage.getItem("token") || "";

let mostBytes = Infinity; // of a recording

function headers() {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

// Whether the server lets us in; asks for the token when it wants one.
async function admitted() {
  let answer;
  try {
    answer = await fetch("v1/models", { headers: headers() });
  } catch {
    complain("The server does not answer: it was stopped, or the network is down.");
    return false;
  }
  if (answer.status === 401) {
    complain(token ? "The server does not take this token." : "");
    $("token-form").hidden = false;
    $("token").focus();
    return false;
  }
  if (!answer.ok) {
    complain(`The server refuses this page (status ${answer.status}).`);
    return false;
  }
  $("token-form").hidden = true;
  mostBytes = (await answer.json()).data?.[0]?.max_upload_bytes ?? Infinity;
  return true;
}

$("token-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  sessionStorage.setItem("token", token);
  if (await admitted()) {
    complain("");
    say("Ready.");
  }
});

// ---------------------------------------------------------------- pictures that scroll

const SECONDS = 8;
const COLUMNS = SECONDS * 100; // ten milliseconds each

// Columns by time, in a ring; drawn so that `head` is at the right edge.
class Ribbon {
  constructor(canvas, rows) {
    this.canvas = canvas;
    this.resize(rows);
  }

  resize(rows) {
    this.rows = rows;
    this.ring = new OffscreenCanvas(COLUMNS, rows);
    this.pen = this.ring.getContext("2d");
    this.canvas.width = COLUMNS;
    this.canvas.height = rows;
    this.cleared = 0;
  }

  // Forgets what the ring held before the column `end`.
  advance(end) {
    if (end < this.cleared) this.cleared = 0;
    const from = Math.max(this.cleared, end - COLUMNS);
    for (let c = from; c < end; c++) this.pen.clearRect(c % COLUMNS, 0, 1, this.rows);
    this.cleared = end;
  }

  // `colour(row)` gives [r, g, b]; row 0 is at the top.
  put(first, end, colour) {
    const image = new ImageData(1, this.rows);
    for (let row = 0; row < this.rows; row++) {
      const [r, g, b] = colour(row);
      image.data.set([r, g, b, 255], 4 * row);
    }
    for (let c = Math.max(0, first); c < end; c++) this.pen.putImageData(image, c % COLUMNS, 0);
  }

  // The column `head` is the first that is not seen any more.
  draw(head) {
    const pen = this.canvas.getContext("2d");
    const split = head % COLUMNS;
    pen.clearRect(0, 0, COLUMNS, this.rows);
    pen.drawImage(this.ring, split, 0, COLUMNS - split, this.rows, 0, 0, COLUMNS - split, this.rows);
    if (split > 0) pen.drawImage(this.ring, 0, 0, split, this.rows, COLUMNS - split, 0, split, this.rows);
  }
}

// From black over violet and orange to pale yellow; x from 0 to 1.
function heat(x) {
  const stops = [[13, 14, 18], [76, 22, 110], [187, 55, 84], [249, 142, 9], [252, 255, 164]];
  const at = Math.min(0.9999, Math.max(0, x)) * (stops.length - 1);
  const i = Math.floor(at);
  return stops[i].map((low, k) => low + (stops[i + 1][k] - low) * (at - i));
}

// Blue below zero, orange above; x from -1 to 1.
function balance(x) {
  const to = x < 0 ? [68, 156, 255] : [255, 148, 41];
  const amount = Math.min(1, Math.abs(x));
  return [13, 14, 18].map((low, k) => low + (to[k] - low) * amount);
}

// ---------------------------------------------------------------- spectrogram

const BANDS = 96;
const HIGHEST = 8000; // hertz
const spectrogram = new Ribbon($("spectrogram"), BANDS);

// Rows go up the mel scale.
function mel(hertz) {
  return 1127 * Math.log(1 + hertz / 700);
}

$("hertz").replaceChildren(...[8000, 4000, 2000, 1000, 500].map((hertz) => {
  const label = document.createElement("span");
  label.textContent = hertz < 1000 ? `${hertz} Hz` : `${hertz / 1000} kHz`;
  label.style.top = `${100 * (1 - mel(hertz) / mel(HIGHEST))}%`;
  return label;
}));

// A radix-2 Fourier transform in place (Cooley and Tukey).
function transform(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let size = 2; size <= n; size <<= 1) {
    const angle = (-2 * Math.PI) / size;
    for (let k = 0; k < size / 2; k++) {
      const c = Math.cos(angle * k), s = Math.sin(angle * k);
      for (let i = k; i < n; i += size) {
        const j = i + size / 2;
        const a = re[j] * c - im[j] * s, b = re[j] * s + im[j] * c;
        re[j] = re[i] - a; im[j] = im[i] - b;
        re[i] += a; im[i] += b;
      }
    }
  }
}

class Spectrum {
  constructor(rate) {
    this.rate = rate;
    this.size = 2 ** Math.round(Math.log2(rate * 0.032));
    this.window = Float32Array.from({ length: this.size }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / this.size));
    this.tail = new Float32Array(this.size);
    this.taken = 0; // samples so far
    this.column = 0; // ten-millisecond columns so far
    this.bins = Array.from({ length: BANDS }, (_, row) => {
      const f = 700 * (Math.exp(((BANDS - row) / BANDS) * mel(HIGHEST) / 1127) - 1);
      return Math.min(this.size / 2 - 1, Math.max(1, Math.round((f / rate) * this.size)));
    });
  }

  push(samples) {
    const all = new Float32Array(this.tail.length + samples.length);
    all.set(this.tail);
    all.set(samples, this.tail.length);
    const start = this.taken - this.tail.length;
    this.taken += samples.length;
    while ((this.column + 1) * this.rate / 100 <= this.taken) {
      const end = Math.floor((this.column + 1) * this.rate / 100) - start;
      this.draw(all.subarray(end - this.size, end));
      this.column++;
    }
    this.tail = all.slice(all.length - this.size);
  }

  draw(frame) {
    if (frame.length < this.size) return;
    const re = Float32Array.from(frame, (x, i) => x * this.window[i]);
    const im = new Float32Array(this.size);
    transform(re, im);
    spectrogram.advance(this.column + 1);
    spectrogram.put(this.column, this.column + 1, (row) => {
      const bin = this.bins[row];
      const power = (re[bin] ** 2 + im[bin] ** 2) / this.size;
      return heat((10 * Math.log10(power + 1e-10) + 65) / 70);
    });
  }
}

// ---------------------------------------------------------------- the network

const MOST_TOKENS = 24;
const stateRibbon = new Ribbon($("state"), 96);
const tokenRibbon = new Ribbon($("tokens"), 12);

// Which token is in which row: all, where there are few; else those that were likely last.
class TokenRows {
  constructor(tokens, blank) {
    this.names = tokens.map((t, i) => (i === blank ? "(blank)" : t.replace("▁", "")));
    this.rows = Array.from({ length: Math.min(tokens.length, MOST_TOKENS) }, (_, i) => i);
    this.used = this.rows.map(() => 0);
    tokenRibbon.resize(this.rows.length);
    $("token-labels").replaceChildren(...this.rows.map((i) => {
      const label = document.createElement("span");
      label.textContent = this.names[i];
      return label;
    }));
  }

  put(first, end, logProbs) {
    const best = logProbs.indexOf(Math.max(...logProbs));
    if (!this.rows.includes(best)) {
      const oldest = this.used.indexOf(Math.min(...this.used));
      this.rows[oldest] = best;
      $("token-labels").children[oldest].textContent = this.names[best];
    }
    this.rows.forEach((token, row) => {
      const on = token === best;
      if (on) this.used[row] = end;
      $("token-labels").children[row].classList.toggle("on", on);
    });
    tokenRibbon.put(first, end, (row) => heat(Math.exp(logProbs[this.rows[row]])));
  }
}

const MOST_UNITS = 288; // rows of the state's picture, some two between the layers
const BETWEEN = -1;

// Which unit is in which row: all, where there are few; else some that lie evenly among a layer's.
class StateRows {
  constructor(shapes) {
    const blocks = shapes.flatMap(([layers, , width]) => Array.from({ length: layers }, () => width));
    const total = blocks.reduce((sum, width) => sum + width, 0);
    const step = Math.max(1, Math.ceil(total / MOST_UNITS));
    this.units = [];
    const middles = [];
    let first = 0;
    for (const width of blocks) {
      if (first > 0) this.units.push(BETWEEN, BETWEEN);
      const top = this.units.length;
      for (let unit = 0; unit < width; unit += step) this.units.push(first + unit);
      middles.push((top + this.units.length) / 2);
      first += width;
    }
    stateRibbon.resize(this.units.length);
    $("state").style.height = `${this.units.length}px`;
    // The state of an LSTM is h of all layers, then c of all layers.
    const layers = shapes.length === 2 && shapes[0].join() === shapes[1].join() ? blocks.length / 2 : blocks.length;
    const name = (i) => (layers === blocks.length ? `layer ${i + 1}` : `${"hc"[Math.floor(i / layers)]}, ${(i % layers) + 1}`);
    $("layers").replaceChildren(...middles.map((middle, i) => {
      const label = document.createElement("span");
      label.textContent = name(i);
      label.style.top = `${(100 * middle) / this.units.length}%`;
      return label;
    }));
  }

  put(first, end, state) {
    stateRibbon.put(first, end, (row) => {
      const unit = this.units[row];
      return unit === BETWEEN ? [70, 72, 80] : balance((state[unit] ?? 0) / 127);
    });
  }
}

let tokenRows = null;
let stateRows = null;
let lastTrace = 0; // column

function showTrace(message) {
  // A step's columns begin where the last one's ended: nothing is left between.
  const end = Math.round(message.time * 100);
  const first = Math.max(lastTrace, end - 40);
  lastTrace = end;
  for (const ribbon of [stateRibbon, tokenRibbon]) ribbon.advance(Math.max(end, captured()));
  stateRows?.put(first, end, message.state);
  tokenRows?.put(first, end, message.log_probs);
}

// ---------------------------------------------------------------- transcript and playing

let player = null; // AudioContext
let playing = null;

async function play(button, recording, start, end) {
  player ??= new AudioContext();
  await player.resume();
  playing?.stop();
  const buffer = await recording(player, start, end);
  if (!buffer) return say("That is too long ago to be played.");
  const source = new AudioBufferSourceNode(player, { buffer });
  source.connect(player.destination);
  button.classList.add("playing");
  source.onended = () => button.classList.remove("playing");
  source.start();
  playing = source;
}

function wordButton(word, recording) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = word.confidence < 0.5 ? "word unsure" : "word";
  button.textContent = word.word;
  button.title = `${word.start.toFixed(2)} to ${word.end.toFixed(2)} s, sure to ${Math.round(100 * word.confidence)} %`;
  button.addEventListener("click", () => play(button, recording, Math.max(0, word.start - 0.05), word.end + 0.1));
  return button;
}

const MOST_LINES = 500;

class Line {
  constructor(recording, source) {
    this.recording = recording;
    this.element = document.createElement("p");
    this.partial = document.createElement("span");
    this.partial.className = "partial";
    // It is rewritten all the time; the words are read out when they are final.
    this.partial.setAttribute("aria-hidden", "true");
    if (source) {
      const name = document.createElement("p");
      name.className = "source";
      name.textContent = source;
      $("transcript").append(name);
    }
    this.element.append(this.partial);
    $("transcript").append(this.element);
    while ($("transcript").childElementCount > MOST_LINES) $("transcript").firstChild.remove();
  }

  show(partial) {
    follow(() => (this.partial.textContent = partial));
  }

  add(words) {
    follow(() => {
      for (const word of words) this.partial.before(wordButton(word, this.recording), " ");
      this.partial.textContent = "";
    });
  }

  isEmpty() {
    return this.element.childElementCount === 1 && !this.partial.textContent;
  }
}

// Changes the transcript, and keeps its end in view for those who look at it.
function follow(change) {
  const box = $("transcript");
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  change();
  if (atEnd) box.scrollTop = box.scrollHeight;
}

// ---------------------------------------------------------------- listening

const MOST_KEPT = 180; // seconds of the microphone that can be played again
const MOST_LATE = 2; // seconds that may wait for the server

let session = null;

// Columns of the microphone so far.
function captured() {
  return session ? Math.floor((session.samples / session.rate) * 100) : 0;
}

// What was heard, to be played: the pieces as they came, the oldest dropped.
class Kept {
  constructor(rate) {
    this.rate = rate;
    this.pieces = [];
    this.dropped = 0;
    this.length = 0;
  }

  push(piece) {
    this.pieces.push(piece);
    this.length += piece.length;
    while (this.length > MOST_KEPT * this.rate) {
      const oldest = this.pieces.shift();
      this.length -= oldest.length;
      this.dropped += oldest.length;
    }
  }

  slice(context, start, end) {
    const from = Math.floor(start * this.rate) - this.dropped;
    const count = Math.min(Math.floor((end - start) * this.rate), this.length - from);
    if (from < 0 || count < 1) return null;
    const buffer = context.createBuffer(1, count, this.rate);
    const out = buffer.getChannelData(0);
    let at = 0;
    for (const piece of this.pieces) {
      if (at + piece.length > from && at < from + count) {
        const low = Math.max(0, from - at), high = Math.min(piece.length, from + count - at);
        out.set(piece.subarray(low, high), at + low - from);
      }
      at += piece.length;
    }
    return buffer;
  }
}

async function openMicrophone() {
  if (!navigator.mediaDevices || !window.AudioWorkletNode) {
    throw new Error("browsers give it only to pages that come by https or from this computer");
  }
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: true },
  });
  const context = new AudioContext();
  await context.audioWorklet.addModule("worklet.js");
  await context.resume();
  const node = new AudioWorkletNode(context, "gather", { numberOfOutputs: 0 });
  new MediaStreamAudioSourceNode(context, { mediaStream: stream }).connect(node);
  return { stream, context, node };
}

function connect(rate) {
  return new Promise((resolve, reject) => {
    const url = new URL("v1/stream", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url, token ? ["hearken", `bearer.${token}`] : ["hearken"]);
    socket.onclose = reject;
    socket.onopen = () => {
      socket.send(JSON.stringify({ type: "start", version: 1, encoding: "s16le", sample_rate: rate, trace: true }));
    };
    socket.onmessage = (event) => {
      const message = JSON.parse(event.data);
      if (message.type === "ready") resolve({ socket, ready: message });
      else if (message.type === "error") complain(message.message);
    };
  });
}

async function start() {
  complain("");
  $("listen").disabled = true;
  say("Asking for the microphone…");
  try {
    if (!(await admitted())) return say("");
    let microphone;
    try {
      microphone = await openMicrophone();
    } catch (error) {
      complain(microphoneProblem(error));
      return say("Not listening.");
    }
    const rate = microphone.context.sampleRate;
    try {
      const { socket, ready } = await connect(rate);
      begin(microphone, socket, ready, rate);
    } catch (event) {
      release(microphone);
      complain(closeProblem(event));
      say("Not listening.");
    }
  } finally {
    $("listen").disabled = false;
  }
}

function begin(microphone, socket, ready, rate) {
  const kept = new Kept(rate);
  const recording = (context, from, to) => kept.slice(context, from, to);
  session = {
    microphone, socket, rate, recording, samples: 0, missed: 0, ending: false,
    line: new Line(recording),
    spectrum: new Spectrum(rate),
  };
  const mine = session;
  lastTrace = 0;
  for (const ribbon of [spectrogram, stateRibbon, tokenRibbon]) ribbon.resize(ribbon.rows);
  tokenRows = ready.trace ? new TokenRows(ready.tokens, ready.blank) : null;
  stateRows = ready.trace ? new StateRows(ready.states) : null;
  $("asleep").hidden = true;
  $("pictures").hidden = false;
  $("no-trace").hidden = ready.trace;
  document.querySelector(".traced").hidden = !ready.trace;
  microphone.node.port.onmessage = ({ data }) => {
    if (mine.ending) return;
    kept.push(data);
    mine.samples += data.length;
    mine.spectrum.push(data);
    showLevel(data);
    if (socket.bufferedAmount > MOST_LATE * rate * 2) {
      mine.missed += data.length;
      complain(`The server or the network is too slow: ${(mine.missed / rate).toFixed(1)} s were not sent.`);
    } else {
      socket.send(Int16Array.from(data, (x) => Math.max(-32768, Math.min(32767, Math.round(x * 32768)))));
    }
  };
  microphone.stream.getAudioTracks()[0].onended = () => {
    complain("The microphone has gone. What was said so far is above.");
    stop();
  };
  socket.onmessage = (event) => hear(mine, JSON.parse(event.data));
  socket.onclose = (event) => {
    if (!(event.code === 1000 && mine.ended)) complain(closeProblem(event));
    finished(mine);
  };
  $("listen").setAttribute("aria-pressed", "true");
  $("listen-text").textContent = "Stop";
  say("Listening.");
}

function hear(mine, message) {
  switch (message.type) {
    case "partial": return mine.line.show(message.text);
    case "final":
      if (message.words.length === 0) return mine.line.show("");
      mine.line.add(message.words);
      mine.line = new Line(mine.recording);
      return;
    case "trace": return showTrace(message);
    case "end": mine.ended = true; return;
    case "error": return complain(message.message);
  }
}

function stop() {
  if (!session || session.ending) return;
  session.ending = true;
  say("Waiting for the last words…");
  release(session.microphone);
  if (session.socket.readyState === WebSocket.OPEN) session.socket.send('{"type":"finish"}');
}

function release({ stream, context }) {
  for (const track of stream.getTracks()) track.stop();
  if (context.state !== "closed") context.close();
}

function finished(mine) {
  mine.ending = true;
  release(mine.microphone);
  if (mine.line.isEmpty()) mine.line.element.remove();
  if (session === mine) session = null;
  $("level").value = -60;
  $("listen").setAttribute("aria-pressed", "false");
  $("listen-text").textContent = "Listen";
  say("Not listening.");
}

function showLevel(samples) {
  let sum = 0;
  for (const x of samples) sum += x * x;
  const decibels = 10 * Math.log10(sum / samples.length + 1e-9);
  // Falls slowly, so that the eye can follow.
  $("level").value = Math.max(decibels, Number($("level").value) - 1.5);
}

function paint() {
  if (session) {
    const head = captured();
    for (const ribbon of [stateRibbon, tokenRibbon]) ribbon.advance(head);
    for (const ribbon of [spectrogram, stateRibbon, tokenRibbon]) ribbon.draw(head);
  }
  requestAnimationFrame(paint);
}
requestAnimationFrame(paint);

// ---------------------------------------------------------------- recordings

async function transcribe(file) {
  complain("");
  if (!(await admitted())) return;
  if (file.size > mostBytes) {
    const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MB`;
    return complain(`${file.name} is too long: it has ${megabytes(file.size)}, and this server takes ${megabytes(mostBytes)}.`);
  }
  say(`Transcribing ${file.name}…`);
  const form = new FormData();
  form.append("file", file);
  form.append("response_format", "verbose_json");
  form.append("timestamp_granularities[]", "word");
  let answer, result;
  try {
    answer = await fetch("v1/audio/transcriptions", { method: "POST", headers: headers(), body: form });
    result = await answer.json();
  } catch {
    complain("The server has left before the recording was transcribed.");
    return say("Ready.");
  }
  if (!answer.ok) {
    const problem = result.error?.message ?? `status ${answer.status}`;
    complain(problem.startsWith(file.name) ? problem : `${file.name}: ${problem}`);
    return say("Ready.");
  }
  let decoded = null;
  const recording = async (context, from, to) => {
    decoded ??= await context.decodeAudioData(await file.arrayBuffer()).catch(() => null);
    if (!decoded) {
      complain("This browser cannot play recordings of this kind.");
      return null;
    }
    const rate = decoded.sampleRate;
    const first = Math.floor(from * rate), count = Math.min(Math.floor((to - from) * rate), decoded.length - first);
    if (count < 1) return null;
    const buffer = context.createBuffer(decoded.numberOfChannels, count, rate);
    for (let c = 0; c < decoded.numberOfChannels; c++) {
      buffer.copyToChannel(decoded.getChannelData(c).subarray(first, first + count), c);
    }
    return buffer;
  };
  const line = new Line(recording, `${file.name}, ${result.duration.toFixed(1)} s`);
  if (result.words.length > 0) line.add(result.words);
  else line.show("(nothing was heard)");
  say("Ready.");
}

$("file").addEventListener("change", async () => {
  for (const file of $("file").files) await transcribe(file);
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
  if (files.length === 0) complain("That was no file.");
  for (const file of files) await transcribe(file);
});

// ---------------------------------------------------------------- buttons and keys

$("listen").addEventListener("click", () => (session ? stop() : start()));
$("clear").addEventListener("click", () => {
  complain("");
  for (const child of [...$("transcript").children]) {
    if (child !== session?.line.element) child.remove();
  }
});

document.addEventListener("keydown", (event) => {
  const typing = ["INPUT", "BUTTON"].includes(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey;
  if (event.key === "Escape") stop();
  else if (event.key === " " && !typing) {
    event.preventDefault();
    $("listen").click();
  } else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    if (event.target.tagName === "INPUT") return;
    const words = [...document.querySelectorAll(".word")];
    const at = words.indexOf(document.activeElement);
    const to = at < 0 ? (event.key === "ArrowLeft" ? words.length - 1 : 0) : at + (event.key === "ArrowLeft" ? -1 : 1);
    words[to]?.focus();
  }
});

window.addEventListener("pagehide", () => session?.socket.close());
admitted();
