// hearken in the browser: recognizers, each in a worker, and the microphone.

import { openMicrophone, release } from "./microphone.js";

/** Calls to a worker, which are answered in their own time. */
class Calls {
  #worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  #waiting = new Map();
  #next = 0;
  #failed = null;

  constructor() {
    this.#worker.onmessage = ({ data: { call, result, error, progress } }) => {
      const { resolve, reject, onProgress } = this.#waiting.get(call) ?? {};
      if (progress !== undefined) return onProgress?.(progress);
      this.#waiting.delete(call);
      if (error === undefined) resolve?.(result);
      else reject?.(new Error(error));
    };
    this.#worker.onerror = (event) => {
      this.end(`the recognizer's worker failed${event.message ? `: ${event.message}` : " to load"}`);
    };
  }

  call(method, args = {}, { transfer = [], onProgress } = {}) {
    return new Promise((resolve, reject) => {
      if (this.#failed) return reject(new Error(this.#failed));
      this.#next += 1;
      this.#waiting.set(this.#next, { resolve, reject, onProgress });
      this.#worker.postMessage({ call: this.#next, method, args }, transfer);
    });
  }

  end(problem) {
    this.#failed = problem;
    this.#worker.terminate();
    for (const { reject } of this.#waiting.values()) reject(new Error(problem));
    this.#waiting.clear();
  }
}

/** The bytes of a URL, with progress; or of a Blob, an ArrayBuffer or a typed array. */
async function read(from, onProgress) {
  if (from instanceof Blob) return from.arrayBuffer();
  if (from instanceof ArrayBuffer) return from;
  if (ArrayBuffer.isView(from)) return from.buffer.slice(from.byteOffset, from.byteOffset + from.byteLength);
  const answer = await fetch(from);
  if (!answer.ok) throw new Error(`${from}: the server answered with status ${answer.status}`);
  const pieces = [];
  let bytes = 0;
  const reader = answer.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return new Blob(pieces).arrayBuffer();
    pieces.push(value);
    onProgress?.((bytes += value.length));
  }
}

/** Reads several files at once; progress is that of their sum. */
function readAll(sources, onProgress) {
  const bytes = sources.map(() => 0);
  const progress = (i) => (read) => {
    bytes[i] = read;
    onProgress?.(bytes.reduce((sum, n) => sum + n, 0));
  };
  return Promise.all(sources.map((source, i) => (source === undefined ? undefined : read(source, progress(i)))));
}

export class Recognizer {
  #calls;
  #streams = 0;

  constructor(calls, { sampleRate, words, notes }) {
    this.#calls = calls;
    this.sampleRate = sampleRate;
    this.words = words;
    this.notes = notes;
  }

  static async create({ model, phrases, phrasesName = "phrases.txt", pronunciations, numbers, onProgress } = {}) {
    if (model === undefined) throw new TypeError("create: expected `model`, the URL or the bytes of a model file");
    if ((phrases === undefined) !== (pronunciations === undefined)) {
      throw new TypeError("create: `phrases` and `pronunciations` need each other");
    }
    const [modelBytes, pronunciationBytes] = await readAll([model, pronunciations], onProgress);
    const calls = new Calls();
    try {
      const args = { model: modelBytes, phrases, phrasesName, pronunciations: pronunciationBytes, numbers };
      return new Recognizer(calls, await calls.call("create", args));
    } catch (error) {
      calls.end("the recognizer was not created");
      throw error;
    }
  }

  async createStream({ endpoints = true, partials = true, nbest = 1 } = {}) {
    this.#streams += 1;
    const id = this.#streams;
    await this.#calls.call("stream", { id, endpoints, partials, nbest });
    return new Stream(this.#calls, id);
  }

  async transcribe(recording, { name = recording.name ?? "recording", endpoints, nbest = 1, onProgress } = {}) {
    const bytes = await read(recording);
    return this.#calls.call("transcribe", { bytes, name, endpoints, nbest }, { onProgress });
  }

  async listen({ onEvent, onSamples, onError, deviceId, ...options } = {}) {
    const stream = await this.createStream(options);
    const listening = new Listening(stream, { onEvent, onError });
    try {
      listening.microphone = await Microphone.open({
        deviceId,
        onSamples: (samples, sampleRate) => {
          onSamples?.(samples, sampleRate);
          listening.accept(samples, sampleRate);
        },
        onEnded: () => {
          listening.fail(new Error("the microphone was disconnected"));
        },
      });
      return listening;
    } catch (error) {
      stream.close();
      throw error;
    }
  }

  close() {
    this.#calls.end("the recognizer was closed");
  }
}

export class Stream {
  #calls;
  #id;

  constructor(calls, id) {
    this.#calls = calls;
    this.#id = id;
  }

  acceptWaveform(samples, sampleRate) {
    return this.#calls.call("acceptWaveform", { id: this.#id, samples, sampleRate });
  }

  finish() {
    return this.#calls.call("finish", { id: this.#id });
  }

  reset() {
    return this.#calls.call("reset", { id: this.#id });
  }

  close() {
    // After `Recognizer.close` there is nothing to be freed.
    this.#calls.call("close", { id: this.#id }).catch(() => {});
  }
}

export class Microphone {
  #opened;

  constructor(opened) {
    this.#opened = opened;
    this.sampleRate = opened.context.sampleRate;
  }

  static async open({ onSamples, onEnded, deviceId } = {}) {
    const opened = await openMicrophone({ deviceId });
    const rate = opened.context.sampleRate;
    opened.node.port.onmessage = ({ data }) => onSamples?.(data, rate);
    opened.stream.getAudioTracks()[0].onended = () => onEnded?.();
    return new Microphone(opened);
  }

  close() {
    release(this.#opened);
  }
}

/** A microphone and a stream that recognizes it. */
class Listening {
  #stream;
  #onEvent;
  #onError;
  #stopped = false;
  microphone = null;
  waitingSeconds = 0;

  constructor(stream, { onEvent, onError }) {
    this.#stream = stream;
    this.#onEvent = onEvent;
    this.#onError = onError;
  }

  async accept(samples, sampleRate) {
    if (this.#stopped) return;
    const seconds = samples.length / sampleRate;
    this.waitingSeconds += seconds;
    try {
      const events = await this.#stream.acceptWaveform(samples, sampleRate);
      this.waitingSeconds -= seconds;
      for (const event of events) this.#onEvent?.(event);
    } catch (error) {
      this.fail(error);
    }
  }

  fail(error) {
    if (this.#stopped) return;
    this.stop().catch(() => {});
    this.#onError?.(error);
  }

  async stop() {
    if (this.#stopped) return;
    this.#stopped = true;
    this.microphone?.close();
    try {
      for (const event of await this.#stream.finish()) this.#onEvent?.(event);
    } finally {
      this.#stream.close();
    }
  }
}
