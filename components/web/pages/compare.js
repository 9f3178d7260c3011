// Side by side: one message to several versions at once, or blind to two of them, with a vote before the names.

import { ask, streamed } from "./api.js";
import { withConsent } from "./consent.js";
import { button, field, h, plain, say, typing } from "./dom.js";
import { t } from "./i18n.js";
import { keep, kept } from "./kept.js";
import { picker, sampling, settings } from "./settings.js";
import { standings } from "./standings.js";

const MOST = 4;
const VOTES = { a: "voteA", tie: "voteTie", b: "voteB", both_bad: "voteBad" };
const KEYS = { a: "a", b: "b", t: "tie", "=": "tie", x: "both_bad" };
let parts = null; // elements of the page while it is shown
let running = null; // the replies that grow
let battle = null; // what waits for a vote

export function show(view) {
  parts = {
    pickers: h("div", { class: "fields" }),
    columns: h("div", { class: "columns" }),
    votes: h("div", { class: "row votes", role: "group", "aria-label": t("whichIsBetter"), hidden: true }),
    table: h("div"),
    text: h("textarea", { rows: 2, id: "message", "aria-label": t("message"), placeholder: t("compareHint") }),
    send: h("button", { class: "primary" }, t("send")),
    stop: button(t("stop"), () => running?.abort(), { hidden: true, class: "stop" }),
  };
  choices();
  view.append(modes(), parts.pickers, h("p", { class: "row" },
    button(t("addVersion"), () => resize(1)), button(t("removeVersion"), () => resize(-1))), settings(), composer(), parts.columns, parts.votes,
  h("section", { "aria-labelledby": "standings" }, h("h2", { id: "standings" }, t("standings")), parts.table));
  drawTable();
  document.addEventListener("keydown", press);
  return () => {
    document.removeEventListener("keydown", press);
    running?.abort();
    parts = battle = null;
  };
}

const isBlind = () => kept("blind", false);

function modes() {
  const mode = (blind, label) => h("label", { class: "choice" }, h("input", {
    type: "radio", name: "mode", checked: isBlind() === blind, onchange: () => { keep("blind", blind); clear(); },
  }), t(label));
  return h("fieldset", { class: "modes" }, h("legend", null, t("mode")), mode(false, "sideBySide"), mode(true, "blind"),
    h("p", { class: "fine" }, t("blindHint")));
}

function choices() {
  const count = kept("compared", 2);
  parts.choices = Array.from({ length: count }, (_, place) => picker(`compared:${place}`, t("version", { n: place + 1 })));
  parts.pickers.replaceChildren(...parts.choices.map((each, place) => field(t("version", { n: place + 1 }), each.select)));
  // Where nothing was chosen before, each is another one.
  for (const [place, each] of parts.choices.entries()) {
    each.filled.then(() => {
      if (kept(`compared:${place}`, null) === null) each.select.selectedIndex = Math.min(place, each.select.options.length - 1);
    }).catch((error) => say(error.message));
  }
}

function resize(by) {
  keep("compared", Math.min(MOST, Math.max(2, kept("compared", 2) + by)));
  choices();
  clear();
}

function clear() {
  running?.abort();
  battle = null;
  parts.columns.replaceChildren();
  parts.votes.hidden = true;
}

function composer() {
  const send = async (event) => {
    event.preventDefault();
    const text = parts.text.value.trim();
    await Promise.allSettled(parts.choices.map((each) => each.filled));
    if (text && !running) (isBlind() ? fight(text) : compare(text)).catch((error) => say(error.message));
  };
  parts.text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229) send(event);
  });
  return h("form", { class: "composer", onsubmit: send }, parts.text, parts.send, parts.stop);
}

const body = (text) => ({ messages: [{ role: "user", content: text }], stream: true, ...sampling() });

async function compare(text) {
  clear();
  const asked = body(text);
  await all(parts.choices.map(({ select }) => ({ title: select.value, path: "/v1/chat/completions", body: { ...asked, model: select.value } })));
}

async function fight(text) {
  clear();
  const own = { models: parts.choices.map(({ select }) => select.value), ...body(text) };
  const { battle: name } = await ask("/api/arena", own);
  const columns = await all([0, 1].map((side) => ({ title: "AB"[side], path: `/api/arena/${name}/replies/${side}`, body: {} })));
  if (!parts || !columns.every((each) => each.whole)) return;
  battle = { name, columns, since: performance.now() };
  const same = columns[0].text.textContent === columns[1].text.textContent;
  const offered = Object.entries(VOTES).filter(([outcome]) => !same || !["a", "b"].includes(outcome));
  parts.votes.replaceChildren(...offered.map(([outcome, label]) => button(t(label), () => vote(outcome), { "data-outcome": outcome })));
  parts.votes.hidden = false;
  parts.votes.querySelector("button").focus();
}

// Stream several replies at once, each into a column of its own; the columns once all have ended.
async function all(wanted) {
  running = new AbortController();
  const own = running;
  busy(true);
  const columns = wanted.map(column);
  parts.columns.replaceChildren(...columns.map((each) => each.element));
  await Promise.all(columns.map((each, place) => fill(each, wanted[place], own.signal)));
  if (running === own) running = null;
  busy(Boolean(running));
  return columns;
}

function busy(is) {
  if (!parts) return;
  parts.send.hidden = is;
  parts.stop.hidden = !is;
}

function column({ title }) {
  const head = h("h3", null, title);
  const text = h("div", { class: "text", dir: "auto" });
  const note = h("p", { class: "note" });
  return { head, text, note, whole: false, element: h("article", { "aria-label": title, "aria-busy": "true" }, head, text, note) };
}

async function fill(each, wanted, signal) {
  try {
    const found = await streamed(wanted.path, wanted.body, signal, (more) => { each.text.textContent += more; });
    each.whole = true;
    if (!isBlind()) each.head.textContent = found.model;
    each.note.textContent = [found.cut && t("cut"), found.finish === "length" && t("atLimit")].filter(Boolean).join(" ");
  } catch (error) {
    each.note.textContent = error.name === "AbortError" ? t("wasStopped") : t("failed", { why: error.message });
  }
  each.element.setAttribute("aria-busy", "false");
}

async function vote(outcome) {
  const { name, columns, since } = battle;
  try {
    await withConsent(async () => {
      const told = await ask(`/api/arena/${name}/vote`, { outcome, seconds: (performance.now() - since) / 1000 });
      battle = null;
      columns.forEach((each, place) => { each.head.textContent = `${"AB"[place]}: ${told.models[place]}`; });
      const chosen = { a: [0], b: [1], tie: [0, 1], both_bad: [] }[outcome];
      chosen.forEach((place) => columns[place].element.classList.add("chosen"));
      parts.votes.hidden = true;
      say(t("names", { a: told.models[0], b: told.models[1] }));
      parts.text.focus();
      drawTable();
    });
  } catch (error) {
    say(error.message);
  }
}

function press(event) {
  const outcome = KEYS[event.key.toLowerCase()];
  if (!battle || !outcome || !plain(event) || typing(event) || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  parts.votes.querySelector(`[data-outcome="${outcome}"]`)?.click();
}

async function drawTable() {
  try {
    const told = await ask("/api/arena");
    parts?.table.replaceChildren(standings(told));
  } catch (error) {
    say(error.message);
  }
}
