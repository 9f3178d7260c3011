// Chat: one conversation at a time, as a tree of messages; streaming, stop, edit, regenerate, branches.

import { streamed } from "./api.js";
import { button, field, h, say } from "./dom.js";
import { t } from "./i18n.js";
import { keep, kept } from "./kept.js";
import { message } from "./message.js";
import { picker, sampling, settings } from "./settings.js";
import * as talks from "./talks.js";
import * as tree from "./tree.js";

let talk = null; // the conversation that is shown
let live = null; // the reply that grows: its conversation, node and controller
let parts = null; // elements of the page while it is shown

export function show(view) {
  talk ??= talks.all().find((each) => each.id === kept("talk", null)) ?? tree.begin();
  const model = picker("model", t("model"));
  parts = {
    model: model.select,
    list: h("div", { class: "talks" }),
    log: h("div", { class: "log", role: "log", "aria-label": t("conversation"), tabindex: "0" }),
    send: h("button", { class: "primary" }, t("send")),
    stop: button(t("stop"), () => live?.controller.abort(), { hidden: true, class: "stop" }),
    system: h("textarea", { rows: 2, id: "system", onchange: () => { talk.system = parts.system.value.trim(); talks.save(talk); } }),
    text: h("textarea", { rows: 2, id: "message", "aria-label": t("message"), placeholder: t("messageHint") }),
  };
  parts.ready = model.filled.catch((error) => say(error.message));
  view.append(side(), h("section", { class: "talk", "aria-label": t("chat") },
    h("div", { class: "bar" }, field(t("model"), parts.model)),
    h("details", { class: "settings" }, h("summary", null, t("system")), field(t("systemHint"), parts.system)),
    settings(), parts.log, composer()));
  draw();
  if (matchMedia("(pointer: fine)").matches) parts.text.focus();
  return () => { parts = null; };
}

function side() {
  const file = h("input", { type: "file", accept: "application/json", hidden: true, onchange: () => take(file) });
  return h("aside", { "aria-label": t("conversations") },
    h("details", { open: matchMedia("(min-width: 800px)").matches },
      h("summary", null, t("conversations")),
      h("p", { class: "row" }, button(t("newTalk"), () => open(tree.begin()), { class: "primary" }),
        button(t("export"), talks.download), button(t("import"), () => file.click()), file),
      h("p", { class: "fine" }, t("keptHere")), parts.list));
}

async function take(file) {
  try {
    say(t("imported", { n: await talks.upload(file.files[0]) }));
  } catch {
    say(t("noConversations"));
  }
  file.value = "";
  drawList();
}

function composer() {
  const send = async (event) => {
    event.preventDefault();
    const text = parts.text.value.trim();
    await parts.ready;
    if (!text || live) return undefined;
    if (!parts.model.value) return say(t("noModels"));
    parts.text.value = "";
    const shown = tree.path(talk);
    return answer(tree.add(talk, shown.at(-1)?.id ?? null, "user", text));
  };
  parts.text.addEventListener("keydown", (event) => {
    // While an input method composes, Enter ends a character and sends nothing.
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229) send(event);
  });
  return h("form", { class: "composer", onsubmit: send }, parts.text, parts.send, parts.stop);
}

function open(other) {
  talk = other;
  keep("talk", talk.id);
  draw();
}

// Have the model reply to a user's message, as a further branch below it.
async function answer(asked) {
  const own = talk;
  const request = sampling();
  const model = parts.model.value;
  const sent = tree.messages(own, asked);
  const node = tree.add(own, asked.id, "assistant", "", { model, request });
  live = { node, controller: new AbortController() };
  talks.save(own);
  keep("talk", own.id);
  draw();
  try {
    const body = { model, messages: sent, stream: true, ...request };
    Object.assign(node, await streamed("/v1/chat/completions", body, live.controller.signal, (text) => grow(node, text)));
  } catch (error) {
    if (error.name === "AbortError") node.finish = "stopped";
    else node.error = error.message;
  }
  live = null;
  talks.save(own);
  draw();
}

function grow(node, text) {
  node.content += text;
  const place = parts?.log.querySelector(`[data-node="${node.id}"] .text`);
  if (!place) return; // another conversation or page is shown
  const follows = parts.log.scrollHeight - parts.log.scrollTop - parts.log.clientHeight < 60;
  place.textContent = node.content;
  if (follows) parts.log.scrollTop = parts.log.scrollHeight;
}

const acts = {
  regenerate: (node) => answer(tree.find(talk, node.parent)),
  edit: (node, text) => answer(tree.add(talk, node.parent, "user", text)),
  choose: (node) => { tree.choose(talk, node); talks.save(talk); draw(node.id); },
  changed: () => talks.save(talk),
};

function draw(focused = null) {
  if (!parts) return;
  parts.send.hidden = Boolean(live);
  parts.stop.hidden = !live;
  parts.system.value = talk.system;
  const shown = tree.path(talk);
  parts.log.replaceChildren(...(shown.length ? shown.map((node) => message(talk, node, acts, live?.node)) : [h("p", { class: "empty" }, t("sayHello"))]));
  if (focused) parts.log.querySelector(`[data-node="${focused}"] .branches button:not(:disabled)`)?.focus();
  else parts.log.scrollTop = parts.log.scrollHeight;
  drawList();
}

function drawList() {
  parts?.list.replaceChildren(...talks.all().map((each) => h("div", { class: "row" },
    button(each.title || t("untitled"), () => open(each.id === talk.id ? talk : each),
      { class: "quiet title", "aria-current": each.id === talk.id ? "true" : null }),
    button("✕", () => { talks.remove(each); if (each.id === talk.id) open(tree.begin()); else drawList(); },
      { class: "quiet", "aria-label": t("deleteTalk", { title: each.title }) }))));
}
