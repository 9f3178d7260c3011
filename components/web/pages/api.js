// What the pages ask the server, and who asks.

import { h, button, field } from "./dom.js";
import { t } from "./i18n.js";
import { kept, keep } from "./kept.js";

export class Refused extends Error {
  constructor(status, message, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export function worker() {
  const known = kept("worker", null);
  if (known) return known;
  const made = `w-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`;
  keep("worker", made);
  return made;
}

export const isPseudonym = (name) => /^[a-z0-9][a-z0-9-]{0,39}$/.test(name);

// The response once its head is here; a body makes it a POST. Raises Refused with what the server says.
export async function reach(path, body, signal) {
  for (;;) {
    const token = sessionStorage.getItem("token");
    const headers = { "x-worker": worker(), "content-type": "application/json" };
    if (token) headers.authorization = `Bearer ${token}`;
    const method = body === undefined ? "GET" : "POST";
    const response = await fetch(path, { method, headers, signal, body: body && JSON.stringify(body) });
    if (response.ok) return response;
    if (response.status === 401 && await askToken()) continue;
    throw await refusal(response);
  }
}

export const ask = async (path, body, signal) => (await reach(path, body, signal)).json();

async function refusal(response) {
  try {
    const { error } = await response.json();
    return new Refused(response.status, error.message, error.code);
  } catch {
    return new Refused(response.status, `${response.status} ${response.statusText}`);
  }
}

// Several requests may be refused at once: one question is asked.
let asking = null;
function askToken() {
  asking ??= new Promise((answer) => {
    const input = h("input", { type: "password", autocomplete: "off" });
    const dialog = h("dialog", { "aria-label": t("token") },
      h("form", { method: "dialog" }, h("p", null, t("tokenNeeded")), field(t("token"), input),
        h("p", { class: "row" }, h("button", { value: "ok" }, t("ok")), button(t("cancel"), () => dialog.close()))));
    dialog.addEventListener("close", () => {
      dialog.remove();
      asking = null;
      if (dialog.returnValue === "ok") sessionStorage.setItem("token", input.value);
      answer(dialog.returnValue === "ok");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
  return asking;
}

// Server-sent events as they come, without the last one, [DONE].
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) throw new Refused(0, t("brokenOff"));
      const parts = (held + value).split("\n\n");
      held = parts.pop();
      for (const part of parts.filter((each) => each.startsWith("data: "))) {
        if (part === "data: [DONE]") return;
        const event = JSON.parse(part.slice(6));
        if (event.error) throw new Refused(500, event.error.message, event.error.code);
        yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

// A reply as it grows. `grow` is told each further text; the promise is of what is known at the end.
export async function streamed(path, body, signal, grow) {
  const response = await reach(path, body, signal);
  const found = {
    forgotten: Number(response.headers.get("x-context-forgotten") ?? 0),
    cut: response.headers.get("x-context-cut") === "true",
  };
  for await (const event of events(response)) {
    const choice = event.choices[0];
    found.model = event.model;
    if (choice?.delta.content) grow(choice.delta.content);
    if (choice?.finish_reason) found.finish = choice.finish_reason;
  }
  return found;
}
