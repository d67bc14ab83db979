const { steps, titles, seconds, left, right, t: first } = JSON.parse(document.getElementById("data").textContent);
const [slider, svg, audio] = ["#t", "main svg", "audio"].map((name) => document.querySelector(name));
const last = steps.length - 2;
const width = (right - left) / steps.length;
const groups = [0, 1, 2].map((column) => document.getElementById(`step-${column}`));
const texts = [0, 1, 2].map((column) => document.querySelector(`#time-${column} text`));
let t = first;

function go(to) {
  t = Math.min(last, Math.max(1, Math.round(to)));
  slider.value = t;
  groups.forEach((group, column) => {
    group.innerHTML = steps[t - 1 + column];
    texts[column].textContent = titles[t - 1 + column][column];
  });
  document.getElementById("window").setAttribute("transform", `translate(${(t - first) * width} 0)`);
  document.querySelector("output").textContent = titles[t][1];
}

/** Moves t, and the sound with it. */
function seek(to) {
  go(to);
  if (audio.paused) audio.currentTime = t * seconds;
}

slider.addEventListener("input", () => seek(slider.valueAsNumber));
document.getElementById("back").addEventListener("click", () => seek(t - 1));
document.getElementById("on").addEventListener("click", () => seek(t + 1));
document.addEventListener("keydown", (event) => {
  const far = event.shiftKey ? 10 : 1;
  const to = { ArrowLeft: t - far, ArrowRight: t + far, Home: 1, End: last }[event.key];
  if (to === undefined || event.target === audio) return;
  event.preventDefault();
  seek(to);
});
svg.addEventListener("click", (event) => {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  const below = point.y > document.querySelector("#window rect").getBBox().y;
  if (below && point.x >= left && point.x <= right) seek(Math.floor((point.x - left) / width));
});
audio.addEventListener("play", function follow() {
  if (audio.paused) return;
  go(Math.floor(audio.currentTime / seconds));
  requestAnimationFrame(follow);
});
go(t);
