// The transcript: lines of words, which can be played and navigated by keyboard.

import { $, say } from "./notices.js";

const MOST_LINES = 500;

// ---------------------------------------------------------------- playing

let player = null; // AudioContext
let playing = null; // what is being played, with its word

async function play(button, recording, start, end) {
  stopPlaying();
  player ??= new AudioContext();
  await player.resume();
  const buffer = await recording(player, start, end);
  if (!buffer) return say("This word is too old to be played.");
  stopPlaying(); // another word may have started while this one waited for its recording
  const source = new AudioBufferSourceNode(player, { buffer });
  source.connect(player.destination);
  const mine = { source, button };
  playing = mine;
  button.classList.add("playing");
  source.onended = () => {
    if (playing === mine) stopPlaying();
  };
  source.start();
}

// Stops playing; returns whether something was playing.
export function stopPlaying() {
  if (!playing) return false;
  const { source, button } = playing;
  playing = null;
  source.onended = null;
  source.stop();
  button.classList.remove("playing");
  return true;
}

// ---------------------------------------------------------------- words

// The only word that the Tab key reaches; the arrow keys move to the others.
let current = null;

function words() {
  return [...document.querySelectorAll(".word")];
}

function makeCurrent(word) {
  if (current) current.tabIndex = -1;
  current = word ?? null;
  if (current) current.tabIndex = 0;
}

// Moves the focus to another word if `key` is one of the keys for it; returns whether it did.
export function go(key) {
  if (!["ArrowLeft", "ArrowRight", "Home", "End"].includes(key)) return false;
  const all = words();
  const at = all.indexOf(document.activeElement);
  // Without a focused word, the left arrow selects the last word and the right arrow the first.
  const to = {
    ArrowLeft: at < 0 ? all.length - 1 : Math.max(0, at - 1),
    ArrowRight: Math.min(at + 1, all.length - 1),
    Home: 0,
    End: all.length - 1,
  }[key];
  if (at < 0 && (key === "Home" || key === "End")) return false;
  all[to]?.focus();
  return all.length > 0;
}

function wordButton(word, recording) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = word.confidence < 0.5 ? "word unsure" : "word";
  button.textContent = word.word;
  button.tabIndex = -1;
  const about = `${word.start.toFixed(2)} to ${word.end.toFixed(2)} s, confidence ${Math.round(100 * word.confidence)} %`;
  button.title = about;
  button.setAttribute("aria-description", about);
  button.addEventListener("focus", () => makeCurrent(button));
  button.addEventListener("click", () => play(button, recording, Math.max(0, word.start - 0.05), word.end + 0.1));
  return button;
}

// ---------------------------------------------------------------- lines

export class Line {
  constructor(recording, source) {
    this.recording = recording;
    this.element = document.createElement("p");
    this.partial = document.createElement("span");
    this.partial.className = "partial";
    // It changes often: screen readers only read the final words.
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
    if (!current?.isConnected) makeCurrent(words()[0]);
  }

  show(partial) {
    follow(() => (this.partial.textContent = partial));
  }

  add(found) {
    follow(() => {
      for (const word of found) this.partial.before(wordButton(word, this.recording), " ");
      this.partial.textContent = "";
    });
    if (!current?.isConnected) makeCurrent(words()[0]);
  }

  // Adds a remark that is not part of the transcript.
  remark(text) {
    const remark = document.createElement("span");
    remark.className = "remark";
    remark.textContent = text;
    follow(() => this.partial.before(remark));
  }

  isEmpty() {
    return this.element.childElementCount === 1 && !this.partial.textContent;
  }
}

// Empties the transcript, except for the line that is being spoken.
export function clear(spoken) {
  stopPlaying();
  for (const child of [...$("transcript").children]) {
    if (child !== spoken?.element) child.remove();
  }
  makeCurrent(words()[0]);
}

// Changes the transcript, and keeps its end in view if it was in view before.
function follow(change) {
  const box = $("transcript");
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  change();
  if (atEnd) box.scrollTop = box.scrollHeight;
}
