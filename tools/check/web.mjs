// The test of tools/check/web.sh, which describes it: node web.mjs HEARKEN FOLDER

import { spawn, execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { chromium } from "playwright-core";

const [hearken, folder] = process.argv.slice(2);
const site = join(folder, "site");
const work = mkdtempSync(join(tmpdir(), "hearken-web-"));
const LIMIT = 5e6; // bytes over the wire

let failures = 0;
function check(what, expected, found) {
  if (JSON.stringify(expected) === JSON.stringify(found)) return console.log(`ok: ${what}`);
  failures += 1;
  console.log(`FAILED: ${what}\n  expected: ${JSON.stringify(expected)}\n  found:    ${JSON.stringify(found)}`);
}
function assert(what, condition, found) {
  check(what, true, condition || found);
}

/** The transcript by the program, as JSON. */
function transcribe(file, ...options) {
  return JSON.parse(execFileSync(hearken, ["transcribe", "--format", "json", ...options, file]));
}

// ---------------------------------------------------------------- sizes

function files(folder, below = "") {
  return readdirSync(join(folder, below), { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? files(folder, join(below, entry.name)) : [join(below, entry.name)],
  );
}

function showSizes() {
  const total = [0, 0];
  const show = (name, sizes) => console.log(`${name.padEnd(32)} ${sizes.map((n) => String(n).padStart(9)).join(" ")}`);
  console.log("--- bytes over the wire: as they are, gzip");
  for (const file of files(site)) {
    const bytes = readFileSync(join(site, file));
    const sizes = [bytes.length, gzipSync(bytes, { level: 9 }).length];
    show(file, sizes);
    // English is loaded only for phrases.
    if (!file.includes("english")) sizes.forEach((size, i) => (total[i] += size));
  }
  show("page with digits", total);
  assert(`the page with digits has less than ${LIMIT / 1e6} MB over the wire`, total[1] < LIMIT, total[1]);
}

// ---------------------------------------------------------------- server and browser

const servers = [];

async function serve(directory) {
  const server = spawn("python3", ["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", directory]);
  const port = await new Promise((resolve, reject) => {
    servers.push(server);
    let text = "";
    server.stdout.on("data", (more) => {
      text += more;
      const found = /port (\d+) /.exec(text);
      if (found) resolve(found[1]);
    });
    server.on("exit", reject);
  });
  return `http://127.0.0.1:${port}/`;
}

const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
];

/** Opens the page, with a recording as the microphone. */
async function open(url, { microphone, refused, ...context } = {}) {
  const args = [...FLAGS];
  if (!refused) args.push("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream");
  if (microphone) args.push(`--use-file-for-fake-audio-capture=${microphone}%noloop`);
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args });
  const page = await browser.newPage(context);
  const errors = [], hosts = new Set();
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("request", (request) => hosts.add(new URL(request.url()).host));
  await page.goto(url);
  await page.waitForSelector("#listen:enabled, #problem:not([hidden])", { timeout: 60_000 });
  if (await page.isDisabled("#listen")) throw new Error(await page.textContent("#problem"));
  return { browser, page, errors, hosts };
}

const transcript = (page) =>
  page.$$eval("#transcript > p:not(.source)", (lines) =>
    lines.map((line) => [...line.querySelectorAll(".word")].map((word) => word.textContent).join(" ")).filter(Boolean),
  );

// ---------------------------------------------------------------- tests

/** Recordings opened on the page, and the same by the package's interface with times. */
async function recordings(url) {
  const { browser, page, errors, hosts } = await open(url, { viewport: { width: 1000, height: 900 } });
  assert("there are no headers for threads", !(await page.evaluate(() => crossOriginIsolated)), "isolated");
  for (const name of readdirSync("audio").filter((name) => /\.(wav|flac|mp3|m4a|ogg|opus|webm)$/.test(name))) {
    const file = join("audio", name);
    const expected = transcribe(file);
    await page.click("#clear");
    await page.setInputFiles("#file", file);
    await page.waitForFunction(() => document.querySelector("#transcript .source") && document.querySelector("#status").textContent === "Ready.");
    check(`${name} on the page: ${expected.text || "no words"}`, expected.text, (await transcript(page)).join(" "));
    const bytes = readFileSync(file).toString("base64");
    const found = await page.evaluate(async ([bytes, name]) => {
      const { Recognizer } = await import("./hearken/index.js");
      globalThis.recognizer ??= await Recognizer.create({ model: "models/digits.onnx" });
      return globalThis.recognizer.transcribe(Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0)), { name });
    }, [bytes, name]);
    const words = (result) => result.segments.flatMap((segment) => segment.words);
    const times = (result) => words(result).map(({ word, start, end }) => [word, start, end]);
    check(`${name}: words and times by the package`, times(expected), times(found));
    const differences = words(expected).map((word, i) => Math.abs(word.confidence - (words(found)[i]?.confidence ?? 9)));
    assert(`${name}: confidences within 0.002`, Math.max(0, ...differences) <= 0.002, differences);
    check(`${name}: warnings`, expected.warnings, found.warnings);
  }
  await page.screenshot({ path: join(folder, "pictures/light.png") });
  writeFileSync(join(work, "broken.mp3"), "this is no recording");
  await page.setInputFiles("#file", join(work, "broken.mp3"));
  await page.waitForSelector("#problem:visible");
  assert("a file that is no recording is an error with its name", (await page.textContent("#problem")).startsWith("broken.mp3: "));
  await page.setInputFiles("#file", "audio/pi.wav");
  await page.waitForSelector("#problem", { state: "hidden" });
  check("no errors on the console", [], errors);
  check("nothing is loaded from elsewhere", [new URL(url).host], [...hosts]);
  await browser.close();
}

/** Samples in chunks of any size and rate, by the package's interface. */
async function streams(url) {
  const { browser, page } = await open(url);
  const sox = ["audio/countdown.wav", "-r", "44100", "-t", "f32", "-"];
  writeFileSync(join(work, "raw.f32"), execFileSync("sox", sox, { stdio: ["ignore", "pipe", "ignore"] }));
  execFileSync("sox", ["audio/countdown.wav", "-r", "44100", "-e", "float", "-b", "32", join(work, "countdown.wav")], { stdio: "ignore" });
  const expected = transcribe(join(work, "countdown.wav"), "--endpoint", "on").text;
  const raw = readFileSync(join(work, "raw.f32")).toString("base64");
  const found = await page.evaluate(async (raw) => {
    const { Recognizer } = await import("./hearken/index.js");
    const recognizer = await Recognizer.create({ model: "models/digits.onnx", numbers: "words" });
    const samples = new Float32Array(Uint8Array.from(atob(raw), (c) => c.charCodeAt(0)).buffer);
    const stream = await recognizer.createStream();
    const texts = [], problems = [];
    for (const size of [100, 4410, 10 ** 7]) {
      const events = [];
      for (let at = 0; at < samples.length; at += size) {
        events.push(...(await stream.acceptWaveform(samples.slice(at, at + size), 44100)));
      }
      events.push(...(await stream.finish()));
      texts.push(events.filter((event) => event.type === "final").map((event) => event.text).filter(Boolean).join(" "));
      await stream.reset();
    }
    const attempt = (promise) => promise.then(() => problems.push("none"), (error) => problems.push(error.message));
    await stream.acceptWaveform(samples.slice(0, 100), 44100);
    await attempt(stream.acceptWaveform(samples.slice(0, 100), 16000));
    await attempt(stream.acceptWaveform(new Float32Array([0, NaN]), 44100));
    stream.close();
    await attempt(stream.finish());
    await attempt(Recognizer.create({ model: "models/none.onnx" }));
    await attempt(Recognizer.create({ model: new Uint8Array(100) }));
    await attempt(Recognizer.create({ model: "models/digits.onnx", phrases: "a" }));
    recognizer.close();
    await attempt(recognizer.createStream());
    return { texts, problems };
  }, raw);
  check("a stream in chunks of three sizes at 44.1 kHz", [expected, expected, expected], found.texts);
  const parts = ["44100 Hz as before", "found NaN at index 1", "stream was closed", "status 404", "", "need each other", "was closed"];
  found.problems.forEach((problem, i) => {
    assert(`error: ${problem}`, problem !== "none" && problem.includes(parts[i]), parts[i]);
  });
  check("number of errors", parts.length, found.problems.length);
  await browser.close();
}

/** The microphone, which plays a recording. */
async function microphone(url) {
  for (const name of ["pi", "e", "countdown"]) {
    const file = join(work, `${name}.wav`);
    execFileSync("sox", ["-G", "-D", `audio/${name}.wav`, "-b", "16", "-c", "1", file, "pad", "2", "60"]);
    const { text } = transcribe(`audio/${name}.wav`);
    const { browser, page, errors } = await open(url, { microphone: file });
    await page.click("#listen");
    await page.waitForFunction((words) => document.querySelectorAll(".word").length >= words, text.split(" ").length, { timeout: 30_000 });
    if (name === "pi") await page.screenshot({ path: join(folder, "pictures/listening.png") });
    await page.click("#listen");
    await page.waitForFunction(() => document.querySelector("#status").textContent === "Not listening.");
    check(`microphone plays ${name}.wav: ${text}`, text, (await transcript(page)).join(" "));
    if (name === "pi") {
      await page.click(".word");
      await page.waitForSelector(".word.playing");
      console.log("ok: a word of the microphone is played");
    }
    check(`microphone plays ${name}.wav: no errors`, [], errors);
    await browser.close();
  }
  const { browser, page } = await open(url, { refused: true });
  await page.click("#listen");
  await page.waitForSelector("#problem:visible");
  const problem = await page.textContent("#problem");
  assert("a refused or missing microphone is explained", /microphone/.test(problem), problem);
  await browser.close();
}

/** English phrases, which load the other model. */
async function phrases(url) {
  const file = join(work, "phrases.txt");
  writeFileSync(file, "@intent pair\n{first} {second}\n{first} = three one | two seven\n{second} = four one five | one eight\n");
  const dark = { colorScheme: "dark", viewport: { width: 1000, height: 900 } };
  const { browser, page, errors } = await open(url, dark);
  await page.screenshot({ path: join(folder, "pictures/dark.png") });
  await page.check("input[value=phrases]");
  await page.fill("#phrases", readFileSync(file, "utf8"));
  await page.click("#phrases-form button");
  await page.waitForSelector("#listen:enabled", { timeout: 60_000 });
  for (const name of ["pi.wav", "e.wav"]) {
    const expected = transcribe(join("audio", name), "--phrases", file);
    await page.click("#clear");
    await page.setInputFiles("#file", join("audio", name));
    await page.waitForFunction(() => document.querySelector("#transcript .source") && document.querySelector("#status").textContent === "Ready.");
    check(`phrases in ${name}: ${expected.text}`, expected.text, (await transcript(page)).join(" "));
    const { intent, slots } = expected.segments[0].phrases[0];
    const meaning = [intent, ...slots.map(({ name, value }) => `${name}: ${value}`)].join(", ");
    check(`their meaning: ${meaning}`, `→ ${meaning}`, (await page.textContent("#transcript .remark")).trim());
  }
  await page.screenshot({ path: join(folder, "pictures/phrases.png"), fullPage: true });
  await page.fill("#phrases", "turn (on");
  await page.click("#phrases-form button");
  await page.waitForSelector("#problem:visible");
  assert("an error in the phrases names line and column", /line 1, column/.test(await page.textContent("#problem")), await page.textContent("#problem"));
  check("phrases: no errors on the console", [], errors);
  await browser.close();
  const phone = await open(url, { viewport: { width: 360, height: 760 }, isMobile: true, hasTouch: true });
  await phone.page.tap("label:has(input[value=phrases])");
  await phone.page.waitForSelector("#listen:enabled", { timeout: 60_000 });
  const wide = await phone.page.evaluate(() => document.documentElement.scrollWidth);
  assert("nothing is wider than a phone", wide <= 360, wide);
  await phone.page.screenshot({ path: join(folder, "pictures/phone.png"), fullPage: true });
  await phone.browser.close();
}

/** Computing time per second of audio, and that of the program with one thread on the same recording. */
async function speed(url) {
  const file = join(work, "long.wav");
  execFileSync("sox", ["-G", "-D", ...Array(8).fill(["audio/countdown.wav", "audio/pi.wav", "audio/e.wav"]).flat(), file]);
  const expected = transcribe(file);
  const { browser, page } = await open(url);
  const bytes = readFileSync(file).toString("base64");
  const { text, duration, seconds, load } = await page.evaluate(async (bytes) => {
    const { Recognizer } = await import("./hearken/index.js");
    const recording = Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0));
    const begin = performance.now();
    const recognizer = await Recognizer.create({ model: "models/digits.onnx" });
    const load = (performance.now() - begin) / 1000;
    let best = null;
    for (let i = 0; i < 5; i++) {
      const begin = performance.now();
      const result = await recognizer.transcribe(recording, { name: "long.wav" });
      const seconds = (performance.now() - begin) / 1000;
      if (!best || seconds < best.seconds) best = { ...result, seconds, load };
    }
    return best;
  }, bytes);
  check("a long recording has the same words", expected.text, text);
  let program = Infinity;
  for (let i = 0; i < 5; i++) {
    const begin = performance.now();
    transcribe(file, "--threads", "1");
    program = Math.min(program, (performance.now() - begin) / 1000);
  }
  console.log(`--- speed, ${duration.toFixed(0)} s of audio, best of five: ${(seconds / duration).toFixed(4)} s for each second in`
    + ` ${await browser.version()}, ${(program / duration).toFixed(4)} s by the program with its start; model loaded in ${load.toFixed(2)} s`);
  await browser.close();
}

/** An export that computes the features, run by onnxruntime-web; the most likely labels as words, as in docs/exchange.md. */
async function onnxruntime() {
  const checkFolder = join(folder, "check");
  execFileSync(hearken, ["export", "digits", "--for", "onnxruntime", "--with-frontend", "-o", join(checkFolder, "pcm.onnx")], { stdio: "ignore" });
  writeFileSync(join(checkFolder, "index.html"), '<!doctype html><link rel="icon" href="data:,"><button id="listen">');
  const url = await serve(checkFolder);
  const { browser, page } = await open(url);
  for (const name of ["pi", "e", "countdown"]) {
    const { text } = transcribe(`audio/${name}.wav`);
    const file = join(work, `${name}.f32`);
    execFileSync("sox", [`audio/${name}.wav`, "-t", "f32", file, "pad", "0", "1"]);
    const found = await page.evaluate(async ([raw, about]) => {
      const ort = await import("./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs");
      ort.env.wasm.numThreads = 1;
      const samples = new Float32Array(Uint8Array.from(atob(raw), (c) => c.charCodeAt(0)).buffer);
      const session = await ort.InferenceSession.create("pcm.onnx");
      const zeros = (shape) => new ort.Tensor("float32", new Float32Array(shape.reduce((a, b) => a * b)), shape);
      const { states, tokens, blank, step } = about;
      const feeds = Object.fromEntries(states.map(({ input, shape }) => [input, zeros(shape.map((d) => (d === "N" ? 1 : d)))]));
      const labels = [];
      let last = blank;
      for (let at = 0; at + step <= samples.length; at += step) {
        feeds.pcm = new ort.Tensor("float32", samples.slice(at, at + step), [1, step]);
        const results = await session.run(feeds);
        for (const { input, output } of states) feeds[input] = results[output];
        const scores = results.log_probs.data;
        const best = scores.indexOf(Math.max(...scores));
        if (best !== last && best !== blank) labels.push(tokens[best]);
        last = best;
      }
      return labels.join(" ");
    }, [readFileSync(file).toString("base64"), metadata(join(checkFolder, "pcm.onnx"))]);
    check(`onnxruntime-web on ${name}.wav: ${text}`, text, words(found, metadata(join(checkFolder, "pcm.onnx")).lexicon));
  }
  await browser.close();
}

/** The page of `hearken serve`, whose offline mode works after the server has stopped. */
async function offline() {
  const server = spawn(hearken, ["serve", "--listen", "127.0.0.1:0", "--offline-page", site]);
  servers.push(server);
  const url = await new Promise((resolve, reject) => {
    let text = "";
    server.stderr.on("data", (more) => {
      text += more;
      const found = /listening on (\S+)/.exec(text);
      if (found) resolve(found[1]);
    });
    server.on("exit", () => reject(new Error(text)));
  });
  const { browser, page, errors, hosts } = await open(url, { viewport: { width: 1000, height: 700 } });
  await page.screenshot({ path: join(folder, "pictures/server.png") });
  await page.click("#offline a");
  await page.waitForSelector("#listen:enabled", { timeout: 60_000 });
  await page.waitForFunction(() => document.querySelector("#model").textContent.includes("works offline"), null, { timeout: 60_000 });
  const kind = await page.evaluate(async () => (await fetch("hearken/hearken_web_bg.wasm")).headers.get("content-type"));
  check("the server's type of WebAssembly", "application/wasm", kind);
  const words = async (name) => {
    await page.click("#clear");
    await page.setInputFiles("#file", join("audio", name));
    await page.waitForFunction(() => document.querySelector("#transcript .source") && document.querySelector("#status").textContent === "Ready.");
    return (await transcript(page)).join(" ");
  };
  check("offline mode of `hearken serve`", transcribe("audio/pi.wav").text, await words("pi.wav"));
  check("offline mode: no errors on the console", [], errors);
  server.removeAllListeners("exit");
  const ended = new Promise((resolve) => server.on("exit", resolve));
  server.kill("SIGKILL");
  await ended;
  await page.reload();
  await page.waitForSelector("#listen:enabled", { timeout: 60_000 });
  check("the page, loaded again after the server has stopped", transcribe("audio/e.wav").text, await words("e.wav"));
  check("offline mode: nothing is loaded from elsewhere", [new URL(url).host], [...hosts]);
  await page.screenshot({ path: join(folder, "pictures/offline.png") });
  await browser.close();
}

/** What an exported file says about itself. */
function metadata(file) {
  const text = readFileSync(file, "latin1");
  // The values are JSON after their keys; onnxruntime-web has no function that returns them.
  const value = (key) => {
    const begin = text.indexOf("[", text.indexOf(key));
    for (let end = begin + 1; ; end++) {
      end = text.indexOf("]", end);
      try {
        return JSON.parse(text.slice(begin, end + 1));
      } catch {
        if (end < 0) throw new Error(`${file} has no ${key}`);
      }
    }
  };
  const lexicon = new Map(value('"lexicon":').map(({ word, tokens }) => [tokens.join(" "), word]));
  return { states: value("states"), tokens: value("\x06tokens"), lexicon, blank: 0, step: 640 };
}

/** The words of a lexicon among labels, the longest first. */
function words(labels, lexicon) {
  const sequences = [...lexicon.keys()].sort((a, b) => b.length - a.length);
  const pattern = new RegExp(`(?<!\\S)(${sequences.join("|")})(?!\\S)`, "g");
  return [...labels.matchAll(pattern)].map((match) => lexicon.get(match[0])).join(" ");
}

try {
  const url = await serve(site);
  showSizes();
  await recordings(url);
  await streams(url);
  await microphone(url);
  await phrases(url);
  await offline();
  await speed(url);
  await onnxruntime();
} finally {
  servers.forEach((server) => server.kill());
  rmSync(work, { recursive: true });
}
console.log(failures === 0 ? "all checks passed" : `${failures} checks failed`);
process.exit(failures === 0 ? 0 : 1);
