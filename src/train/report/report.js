const time = document.querySelector("time");
const written = 1000 * time.dataset.seconds;
const age = () => {
  const seconds = Math.max(0, Math.round((Date.now() - written) / 1000));
  time.textContent = seconds < 120 ? `${seconds} s ago`
    : seconds < 7200 ? `${Math.round(seconds / 60)} min ago` : new Date(written).toLocaleString();
};
age();
setInterval(age, 5000);
// While it trains, the page is read again, unless it is in use.
if (document.body.classList.contains("running")) {
  setInterval(() => {
    const used = document.hidden || document.querySelector("details[open]")
      || [...document.querySelectorAll("audio")].some((audio) => !audio.paused) || String(getSelection());
    if (!used) location.reload();
  }, 20000);
}
