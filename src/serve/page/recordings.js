// Opened recordings: transcribed by the server, and decoded by the browser for playing and pictures.

import { complain, statusProblem } from "./notices.js";
import { Pictures, SECONDS, sleep } from "./pictures.js";
import { connect, headers, model } from "./server.js";
import { Line } from "./transcript.js";

const BEFORE = 8; // seconds that are processed before those that are shown: the network's state depends on them
const AFTER = 2; // seconds that are shown after a word that is played

function megabytes(bytes) {
  return `${(bytes / 2 ** 20).toFixed(1)} MB`;
}

// Transcribes a file; `isFree()` says whether its pictures may be shown.
export async function transcribe(file, { isFree }) {
  const limit = model?.max_upload_bytes ?? Infinity;
  if (file.size > limit) {
    return complain(`${file.name} is too large: it has ${megabytes(file.size)}, and this server accepts up to ${megabytes(limit)}.`);
  }
  const recording = new Recording(file, isFree);
  recording.show(Infinity);
  const form = new FormData();
  form.append("file", file);
  form.append("response_format", "verbose_json");
  form.append("timestamp_granularities[]", "word");
  let answer, result;
  try {
    answer = await fetch("v1/audio/transcriptions", { method: "POST", headers: headers(), body: form });
    result = await answer.json();
  } catch {
    return complain("The connection was lost before the recording was transcribed.");
  }
  if (!answer.ok) {
    if (answer.status === 403) return complain(statusProblem(403));
    const problem = result.error?.message ?? `status ${answer.status}`;
    return complain(problem.startsWith(file.name) ? problem : `${file.name}: ${problem}`);
  }
  const line = new Line((...span) => recording.play(...span), `${file.name}, ${result.duration.toFixed(1)} s`);
  if (result.words.length > 0) line.add(result.words);
  else line.remark("(no words were recognized) ");
  for (const warning of result.warnings ?? []) line.remark(`(${warning}) `);
}

class Recording {
  constructor(file, isFree) {
    this.file = file;
    this.isFree = isFree;
    this.decoded = null; // a promise of an AudioBuffer, or of null if the browser cannot decode the file
  }

  decode() {
    // At the model's rate, so that the pictures show the network's input.
    const context = new OfflineAudioContext(1, 1, model?.sample_rate ?? 16000);
    this.decoded ??= this.file.arrayBuffer().then((bytes) => context.decodeAudioData(bytes)).catch(() => null);
    return this.decoded;
  }

  // Returns a part of the recording for playing; times in seconds.
  async play(context, from, to) {
    const decoded = await this.decode();
    if (!decoded) {
      complain("This browser cannot play this kind of recording.");
      return null;
    }
    this.show(to + AFTER);
    const rate = decoded.sampleRate;
    const first = Math.floor(from * rate), count = Math.min(Math.floor((to - from) * rate), decoded.length - first);
    if (count < 1) return null;
    const buffer = context.createBuffer(decoded.numberOfChannels, count, rate);
    for (let c = 0; c < decoded.numberOfChannels; c++) {
      buffer.copyToChannel(decoded.getChannelData(c).subarray(first, first + count), c);
    }
    return buffer;
  }

  // The mean of the channels between two times.
  mono(decoded, from, to) {
    const rate = decoded.sampleRate;
    const first = Math.floor(from * rate), end = Math.min(decoded.length, Math.ceil(to * rate));
    const mean = new Float32Array(end - first);
    for (let c = 0; c < decoded.numberOfChannels; c++) {
      const samples = decoded.getChannelData(c).subarray(first, end);
      for (let i = 0; i < mean.length; i++) mean[i] += samples[i] / decoded.numberOfChannels;
    }
    return mean;
  }

  // Shows the pictures of the last seconds before `end`.
  async show(end) {
    if (!this.isFree()) return;
    const decoded = await this.decode();
    if (!this.isFree()) return;
    if (!decoded) return sleep(`This browser cannot decode ${this.file.name}, so there is no picture of it.`);
    const to = Math.min(end, decoded.duration);
    const samples = this.mono(decoded, Math.max(0, to - SECONDS - BEFORE), to);
    const { socket, ready } = await connect(decoded.sampleRate, true).catch(() => ({}));
    if (!this.isFree()) return socket?.close();
    const pictures = new Pictures(decoded.sampleRate, ready ?? { trace: false }, this.file.name);
    pictures.push(samples);
    if (!socket) return;
    socket.onclose = null;
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === "trace") pictures.trace(message);
    };
    socket.send(Int16Array.from(samples, (x) => Math.max(-32768, Math.min(32767, Math.round(x * 32768)))));
    socket.send('{"type":"finish"}');
  }
}
