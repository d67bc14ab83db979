// Requests to the server: access, properties of the model, and streams.

import { $, complain, closeProblem, statusProblem, withRetry } from "./notices.js";

export const PATIENCE = 8000; // timeout of a connection, and of the last results, milliseconds

let token = sessionStorage.getItem("token") || "";

// The server's description of its model; null before the first request.
export let model = null;

export function useToken(text) {
  token = text;
  sessionStorage.setItem("token", token);
}

export function headers() {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

// Whether the server accepts this page; shows the form for the token if one is required.
export async function admitted() {
  let answer, list;
  try {
    answer = await fetch("v1/models", { headers: headers(), signal: AbortSignal.timeout(PATIENCE) });
    list = await answer.json().catch(() => ({}));
  } catch {
    complain("The server does not answer: it was stopped, it hangs, or the network is down.");
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

// Shows which words or units the model recognizes.
function showModel() {
  const listed = (items, joint) => {
    const shown = items.slice(0, MOST_SHOWN).join(joint);
    return items.length > MOST_SHOWN ? `${shown} and ${items.length - MOST_SHOWN} more` : shown;
  };
  let text = "";
  if (model?.words?.length > 0) text = `This model recognizes ${model.words.length === 1 ? "the word" : "the words"} ${listed(model.words, ", ")}.`;
  else if (model?.tokens?.length > 0) text = `This model recognizes these units: ${listed(model.tokens, " ")}.`;
  $("model").textContent = text;
  $("model").hidden = !text;
}

// Opens a stream for audio at `rate` hertz; `trace` requests traces, if the server can provide them.
export function connect(rate, trace) {
  return new Promise((resolve, reject) => {
    const url = new URL("v1/stream", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url, token ? ["hearken", `bearer.${token}`] : ["hearken"]);
    const timer = setTimeout(() => {
      socket.onclose = null;
      socket.close();
      reject({ problem: withRetry(`The server did not answer within ${PATIENCE / 1000} seconds.`) });
    }, PATIENCE);
    socket.onclose = async (event) => {
      clearTimeout(timer);
      reject({ problem: await whyClosed(event) });
    };
    socket.onopen = () => {
      socket.send(JSON.stringify({ type: "start", version: 1, encoding: "s16le", sample_rate: rate, trace }));
    };
    socket.onmessage = (event) => {
      const message = JSON.parse(event.data);
      if (message.type !== "ready") return;
      clearTimeout(timer);
      resolve({ socket, ready: message });
    };
  });
}

// Samples in the encoding of streams, s16le.
export function toInt16(samples) {
  return Int16Array.from(samples, (x) => Math.max(-32768, Math.min(32767, Math.round(x * 32768))));
}

// Browsers hide from pages why a websocket was refused; an ordinary request to the same path is refused
// for the same reason.
export async function whyClosed(event) {
  if (event.code !== 1006) return closeProblem(event);
  try {
    const options = { method: "POST", headers: headers(), signal: AbortSignal.timeout(PATIENCE) };
    const { status } = await fetch("v1/stream", options);
    if ([401, 403, 503].includes(status)) return statusProblem(status);
    return withRetry("The connection was lost.");
  } catch {
    return withRetry("The server cannot be reached: it was stopped, or the network is down.");
  }
}
