// What the page asks the server: whether it lets us in, what its model hears, and for a stream.

import { $, complain, closeProblem, statusProblem } from "./notices.js";

export const PATIENCE = 8000; // milliseconds: for a connection, and for the last words

let token = sessionStorage.getItem("token") || "";

// What the server says of its model; null before it was asked.
export let model = null;

export function useToken(text) {
  token = text;
  sessionStorage.setItem("token", token);
}

export function headers() {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

// Whether the server lets us in; asks for the token when it wants one.
export async function admitted() {
  let answer, list;
  try {
    answer = await fetch("v1/models", { headers: headers(), signal: AbortSignal.timeout(PATIENCE) });
    list = await answer.json().catch(() => ({}));
  } catch {
    complain("The server does not answer: it was stopped, or it hangs, or the network is down.");
    return false;
  }
  if (answer.status === 401) {
    complain(token ? statusProblem(401) : "");
    $("token-form").hidden = false;
    $("token").focus();
    return false;
  }
  if (!answer.ok) {
    complain(statusProblem(answer.status));
    return false;
  }
  $("token-form").hidden = true;
  model = list.data?.[0] ?? null;
  showModel();
  return true;
}

const MOST_SHOWN = 40;

// What the model can recognize.
function showModel() {
  const listed = (items, joint) => {
    const shown = items.slice(0, MOST_SHOWN).join(joint);
    return items.length > MOST_SHOWN ? `${shown} and ${items.length - MOST_SHOWN} more` : shown;
  };
  let text = "";
  if (model?.words?.length > 0) text = `This model recognizes ${model.words.length === 1 ? "the word" : "the words"} ${listed(model.words, ", ")}.`;
  else if (model?.tokens?.length > 0) text = `This model writes with these units: ${listed(model.tokens, " ")}.`;
  $("model").textContent = text;
  $("model").hidden = !text;
}

// Opens a stream for audio at `rate` that is traced, as far as the server has places for that.
export function connect(rate) {
  return new Promise((resolve, reject) => {
    const url = new URL("v1/stream", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url, token ? ["hearken", `bearer.${token}`] : ["hearken"]);
    const timer = setTimeout(() => {
      socket.onclose = null;
      socket.close();
      reject({ problem: `The server did not answer within ${PATIENCE / 1000} seconds. Choose Listen to try again.` });
    }, PATIENCE);
    socket.onclose = async (event) => {
      clearTimeout(timer);
      reject({ problem: await whyClosed(event) });
    };
    socket.onopen = () => {
      socket.send(JSON.stringify({ type: "start", version: 1, encoding: "s16le", sample_rate: rate, trace: true }));
    };
    socket.onmessage = (event) => {
      const message = JSON.parse(event.data);
      if (message.type !== "ready") return;
      clearTimeout(timer);
      resolve({ socket, ready: message });
    };
  });
}

// Browsers do not tell pages why a websocket was refused; an ordinary request to the same path is
// refused for the same reason.
export async function whyClosed(event) {
  if (event.code !== 1006) return closeProblem(event);
  try {
    const options = { method: "POST", headers: headers(), signal: AbortSignal.timeout(PATIENCE) };
    const { status } = await fetch("v1/stream", options);
    if ([401, 403, 503].includes(status)) return statusProblem(status);
    return "The connection broke off. Choose Listen to begin again.";
  } catch {
    return "The server has left: it was stopped, or the network is down. Choose Listen to try again.";
  }
}
