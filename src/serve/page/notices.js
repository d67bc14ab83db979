// What is said to people.

export const $ = (id) => document.getElementById(id);

// How things stand.
export function say(text) {
  $("status").textContent = text;
}

// What is wrong; nothing, when the text is empty.
export function complain(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

export function microphoneProblem(error) {
  switch (error.name) {
    case "NotAllowedError":
    case "SecurityError":
      return "The microphone was refused. Allow it for this page in the browser's address bar, then choose Listen again.";
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
    case 1001: return "The server is being stopped. What was said so far is above.";
    case 1008: return `The server ended the connection${reason}. Choose Listen to begin again.`;
    case 1011: return `The recognizer failed${reason}.`;
    case 1013: return "The server is full at the moment. Try again in a little while.";
    default: return `The connection was closed with code ${event.code}${reason}.`;
  }
}

// What a status says of this page.
export function statusProblem(status) {
  switch (status) {
    case 401: return "The server does not take this token.";
    case 403: return `The server takes nothing from pages of ${location.origin}: its operator can allow them (--allow-origin).`;
    case 503: return "The server is full at the moment, or is being stopped. Try again in a little while.";
    default: return `The server refuses this page (status ${status}).`;
  }
}
