// Runs a recognizer: a worker of its own, so that the page stays responsive.

import init, { Recognizer } from "./hearken_web.js";

const ready = init({ module_or_path: new URL("./hearken_web_bg.wasm", import.meta.url) });
// Each call reports the failure.
ready.catch(() => {});
let recognizer = null;
const streams = new Map();

function stream(id) {
  const found = streams.get(id);
  if (!found) throw new Error("the stream was closed");
  return found;
}

const methods = {
  create({ model, phrases, phrasesName, pronunciations, numbers }) {
    recognizer = new Recognizer(new Uint8Array(model));
    if (phrases !== undefined) {
      recognizer = recognizer.withPhrases(phrases, phrasesName, new Uint8Array(pronunciations));
    }
    if (numbers !== undefined) recognizer = recognizer.withNumbers(numbers);
    return { sampleRate: recognizer.sampleRate, words: recognizer.words, notes: recognizer.notes };
  },

  stream({ id, endpoints, partials, nbest }) {
    streams.set(id, recognizer.stream(endpoints, partials, nbest));
  },

  acceptWaveform({ id, samples, sampleRate }) {
    return stream(id).acceptWaveform(samples, sampleRate);
  },

  finish({ id }) {
    return stream(id).finish();
  },

  reset({ id }) {
    stream(id).reset();
  },

  close({ id }) {
    stream(id).free();
    streams.delete(id);
  },

  async transcribe({ bytes, name, endpoints, nbest }, report) {
    const recording = recognizer.open(new Uint8Array(bytes), name, endpoints, nbest);
    try {
      const segments = [];
      for (;;) {
        const events = recording.next();
        if (events === undefined) break;
        for (const { type, ...segment } of events) segments.push(segment);
        report({ seconds: recording.seconds, segments: segments.length });
        // Other calls, such as a microphone's, have their turn.
        await new Promise((resolve) => setTimeout(resolve));
      }
      const text = segments.map((segment) => segment.text).filter(Boolean).join(" ");
      return { text, duration: recording.seconds, segments, warnings: recording.warnings };
    } finally {
      recording.free();
    }
  },
};

onmessage = async ({ data: { call, method, args } }) => {
  try {
    await ready;
    const result = await methods[method](args, (progress) => postMessage({ call, progress }));
    postMessage({ call, result });
  } catch (error) {
    // A WebAssembly.RuntimeError is a panic, whose message is on the console.
    const stopped = error instanceof WebAssembly.RuntimeError;
    postMessage({ call, error: stopped ? `the recognizer stopped: ${error.message}` : error.message });
  }
};
