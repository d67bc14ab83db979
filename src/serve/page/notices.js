// Messages for the user.

export const $ = (id) => document.getElementById(id);

// What the user does after a connection has ended; each page has its own words.
let retry = "Choose Listen to try again.";

export function setRetry(text) {
  retry = text;
}

// A problem with a connection, and what to do about it.
export function withRetry(problem) {
  return `${problem} ${retry}`;
}

// Shows the status.
export function say(text) {
  $("status").textContent = text;
}

// Shows an error, or none if the text is empty.
export function complain(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

// Shows the level of samples.
export function showLevel(samples) {
  let sum = 0;
  for (const x of samples) sum += x * x;
  const decibels = 10 * Math.log10(sum / samples.length + 1e-9);
  // The meter falls slowly, so that it is readable.
  $("level").value = Math.max(decibels, Number($("level").value) - 1.5);
}

export function microphoneProblem(error) {
  switch (error.name) {
    case "NotAllowedError":
    case "SecurityError":
      return "Access to the microphone was refused. Allow it for this page in the browser's address bar, then choose Listen again.";
    case "NotFoundError":
    case "OverconstrainedError":
      return "No microphone was found. Plug one in, then choose Listen again; or open a recording.";
    case "NotReadableError":
    case "AbortError":
      return "The microphone cannot be read: another program may be using it.";
    default:
      return `The microphone does not work: ${error.message || error.name}.`;
  }
}

export function closeProblem(event) {
  const reason = event.reason ? ` (${event.reason})` : "";
  switch (event.code) {
    case 1001: return "The server was stopped. The text so far is above.";
    case 1008: return withRetry(`The server closed the connection${reason}.`);
    case 1011: return `The recognizer failed${reason}.`;
    case 1013: return "The server is full at the moment. Try again later.";
    default: return `The connection was closed with code ${event.code}${reason}.`;
  }
}

// The message for an HTTP status.
export function statusProblem(status) {
  switch (status) {
    case 401: return "The server does not accept this token.";
    case 403: return `The server does not accept pages of ${location.origin}: its operator can allow them (--allow-origin).`;
    case 503: return "The server is full at the moment, or shutting down. Try again later.";
    default: return `The server refuses this page (status ${status}).`;
  }
}
