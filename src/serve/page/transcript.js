// The transcript: lines of words, which can be played and gone through by keyboard.

import { $, say } from "./notices.js";

const MOST_LINES = 500;

// ---------------------------------------------------------------- playing

let player = null; // AudioContext
let playing = null; // what is heard at the moment, with its word

async function play(button, recording, start, end) {
  stopPlaying();
  player ??= new AudioContext();
  await player.resume();
  const buffer = await recording(player, start, end);
  if (!buffer) return say("That is too long ago to be played.");
  stopPlaying(); // two words may have been waiting for their recordings
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

// Whether there was something to stop.
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

// The one word that Tab leads to; arrows lead to the others.
let current = null;

function words() {
  return [...document.querySelectorAll(".word")];
}

function makeCurrent(word) {
  if (current) current.tabIndex = -1;
  current = word ?? null;
  if (current) current.tabIndex = 0;
}

// Goes to another word as `key` says; whether it is such a key.
export function go(key) {
  if (!["ArrowLeft", "ArrowRight", "Home", "End"].includes(key)) return false;
  const all = words();
  const at = all.indexOf(document.activeElement);
  // From outside one comes in at the end where the arrow points from.
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
  const about = `${word.start.toFixed(2)} to ${word.end.toFixed(2)} s, sure to ${Math.round(100 * word.confidence)} %`;
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

  // Something about the line that nobody said.
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

// Empties the transcript, but for a line that is being spoken.
export function clear(spoken) {
  stopPlaying();
  for (const child of [...$("transcript").children]) {
    if (child !== spoken?.element) child.remove();
  }
  makeCurrent(words()[0]);
}

// Changes the transcript, and keeps its end in view for those who look at it.
function follow(change) {
  const box = $("transcript");
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  change();
  if (atEnd) box.scrollTop = box.scrollHeight;
}
