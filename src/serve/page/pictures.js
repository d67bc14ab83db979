// Scrolling pictures of the network's input, output and state.

import { $ } from "./notices.js";

export const SECONDS = 8;
const COLUMNS = SECONDS * 100; // ten milliseconds each

// A ring buffer of columns by time, drawn with `head` at the right edge.
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

  // Clears the columns up to `end`, each only once: the last steps of a network, which come after the end of
  // the audio, must stay.
  advance(end) {
    if (end <= this.cleared) return;
    const from = Math.max(this.cleared, end - COLUMNS);
    for (let c = from; c < end; c++) this.pen.clearRect(c % COLUMNS, 0, 1, this.rows);
    this.cleared = end;
  }

  // `color(row)` gives [r, g, b]; row 0 is at the top.
  put(first, end, color) {
    const image = new ImageData(1, this.rows);
    for (let row = 0; row < this.rows; row++) {
      const [r, g, b] = color(row);
      image.data.set([r, g, b, 255], 4 * row);
    }
    for (let c = Math.max(0, first); c < end; c++) this.pen.putImageData(image, c % COLUMNS, 0);
  }

  // Draws the columns before `head`.
  draw(head) {
    const pen = this.canvas.getContext("2d");
    const split = head % COLUMNS;
    pen.clearRect(0, 0, COLUMNS, this.rows);
    pen.drawImage(this.ring, split, 0, COLUMNS - split, this.rows, 0, 0, COLUMNS - split, this.rows);
    if (split > 0) pen.drawImage(this.ring, 0, 0, split, this.rows, COLUMNS - split, 0, split, this.rows);
  }
}

// A color scale from black through violet and orange to pale yellow; x from 0 to 1.
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

// The rows are spaced on the mel scale.
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

const MOST_TOKENS = 24; // rows; --token-row in style.css is the height of one
const stateRibbon = new Ribbon($("state"), 96);
const tokenRibbon = new Ribbon($("tokens"), 12);

// Assigns tokens to rows: all tokens if they fit, otherwise those that were most likely last.
class TokenRows {
  constructor(tokens, blank) {
    this.names = tokens.map((t, i) => (i === blank ? "(blank)" : t.replace("▁", "")));
    this.rows = Array.from({ length: Math.min(tokens.length, MOST_TOKENS) }, (_, i) => i);
    this.used = this.rows.map(() => 0);
    tokenRibbon.resize(this.rows.length);
    $("tokens").parentElement.style.setProperty("--token-rows", this.rows.length);
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

const MOST_UNITS = 288; // rows of the state's picture, plus two between layers
const BETWEEN = -1;

// Assigns units to rows: all units if they fit, otherwise evenly spaced units of each layer.
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
    // The states of an LSTM are h of all layers, then c of all layers.
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

// ---------------------------------------------------------------- all pictures

const ribbons = [spectrogram, stateRibbon, tokenRibbon];

// The pictures that are shown at the moment.
let shown = null;

// Draws the pictures in each animation frame, if they have changed.
export function paint() {
  if (shown?.changed) shown.draw();
  requestAnimationFrame(paint);
}

// Shows a text in place of the pictures.
export function sleep(text) {
  shown = null;
  $("asleep").textContent = text;
  $("asleep").hidden = false;
  $("pictures").hidden = true;
}

// The pictures of one stream; they replace those of the stream before. `ready` is the server's message of
// that name, and `source` the name of the audio's source.
export class Pictures {
  constructor(rate, ready, source) {
    shown = this;
    this.changed = true;
    $("source").textContent = `of ${source}`;
    this.rate = rate;
    this.samples = 0;
    this.spectrum = new Spectrum(rate);
    this.traced = 0; // columns
    for (const ribbon of ribbons) ribbon.resize(ribbon.rows);
    this.tokenRows = ready.trace ? new TokenRows(ready.tokens, ready.blank) : null;
    this.stateRows = ready.trace ? new StateRows(ready.states) : null;
    $("asleep").hidden = true;
    $("pictures").hidden = false;
    $("no-trace").hidden = ready.trace;
    document.querySelector(".traced").hidden = !ready.trace;
  }

  // Number of columns of audio so far.
  get head() {
    return Math.floor((this.samples / this.rate) * 100);
  }

  push(samples) {
    if (shown !== this) return;
    this.changed = true;
    this.samples += samples.length;
    this.spectrum.push(samples);
  }

  trace(message) {
    if (shown !== this) return;
    this.changed = true;
    // The columns of a step begin where those of the step before end, so that there are no gaps.
    const end = Math.round(message.time * 100);
    const first = Math.max(this.traced, end - 40);
    this.traced = end;
    for (const ribbon of [stateRibbon, tokenRibbon]) ribbon.advance(Math.max(end, this.head));
    this.stateRows?.put(first, end, message.state);
    this.tokenRows?.put(first, end, message.log_probs);
  }

  draw() {
    this.changed = false;
    for (const ribbon of [stateRibbon, tokenRibbon]) ribbon.advance(this.head);
    for (const ribbon of ribbons) ribbon.draw(this.head);
  }
}
