// Label: one task after another, for as long as somebody likes.

import { ask, isPseudonym, worker } from "./api.js";
import { withConsent } from "./consent.js";
import { button, field, h, plain, say, typing } from "./dom.js";
import { demonstration } from "./demonstration.js";
import { draft, forget } from "./draft.js";
import { guidelines } from "./guidelines.js";
import { t } from "./i18n.js";
import { keep } from "./kept.js";
import { mine } from "./mine.js";
import { ranking } from "./ranking.js";

const RENEW_SECONDS = 240; // a task is somebody's for 15 minutes
let parts = null; // elements of the page while it is shown
let me = null; // what the server knows of the labeler
let task = null; // what is asked now, with its draft
let last = null; // the newest answer, which can be undone

export function show(view) {
  parts = { head: h("div", { class: "progress" }), place: h("div", { class: "task" }), own: h("div") };
  view.append(parts.head, guidelines(), parts.place, parts.own);
  const renewing = setInterval(renew, RENEW_SECONDS * 1000);
  document.addEventListener("keydown", press);
  addEventListener("pagehide", saveDraft);
  start();
  return () => {
    saveDraft();
    clearInterval(renewing);
    document.removeEventListener("keydown", press);
    removeEventListener("pagehide", saveDraft);
    parts = task = null;
  };
}

const saveDraft = () => task?.draft.save();
const tell = (error) => say(error.message);

async function start() {
  try {
    await refresh();
    // Whoever was at work goes on; nobody is given a task by looking at the page.
    if (sessionStorage.getItem("working")) await next();
    else rest();
  } catch (error) {
    tell(error);
  }
}

async function refresh() {
  me = await ask("/api/me");
  if (!parts) return;
  parts.head.replaceChildren(...progress());
  parts.own.replaceChildren(mine(me, { undo: reopen, changed: refresh }));
}

function progress() {
  const name = h("input", { id: "worker", value: me.worker, maxlength: 40, size: 12, onchange: () => rename(name) });
  const open = me.rounds.filter((round) => !round.done);
  const { tasks, done, share } = me.qualification;
  return [
    field(t("pseudonym"), name),
    h("p", null, t("yourAnswers", { n: me.answers })),
    ...open.map((round) => h("label", { class: "field" }, h("span", null, t("round", round)), h("progress", { max: round.wanted, value: round.given + round.skipped }))),
    tasks > 0 && h("p", null, done < tasks ? t("qualifying", { done, tasks }) : t("qualified", { share: Math.round(100 * (share ?? 0)) })),
  ].filter(Boolean);
}

function rename(input) {
  if (!isPseudonym(input.value)) {
    say(t("noPseudonym"));
    input.value = worker();
    return;
  }
  keep("worker", input.value);
  last = null;
  start();
}

function rest(text = t("readGuidelines")) {
  task = null;
  sessionStorage.removeItem("working");
  parts?.place.replaceChildren(h("p", null, text), h("p", { class: "row" }, button(t("startLabelling"), () => next().catch(tell), { class: "primary", id: "next" }), undoer()));
}

const undoer = () => button(`${t("undo")} (u)`, undo, { id: "undo", disabled: !me?.answers });

async function next() {
  const found = await ask("/api/tasks/next", {});
  if (!parts) return;
  if (!found.task) {
    rest(t("nothingToDo"));
    parts.place.querySelector("button").focus();
    return;
  }
  sessionStorage.setItem("working", "yes");
  open(found.task);
}

function open(given) {
  task = { ...given, draft: draft(given) };
  const body = (task.kind === "ranking" ? ranking : demonstration)(task, answer);
  task.press = body.press;
  parts.place.replaceChildren(
    h("section", { class: "asked", "aria-label": t("conversation") }, task.messages.map((message) =>
      h("article", { class: message.role }, h("h3", null, t(message.role)), h("div", { class: "text", dir: "auto" }, message.content)))),
    body.element,
    h("div", { class: "row foot" }, undoer(), button(`${t("skip")} (s)`, skip, { id: "skip" }), button(t("giveBack"), giveBack)));
  body.focus();
}

// Send what was found; the next task comes by itself.
async function answer(given) {
  const { lease, draft: written } = task;
  const sent = { ...given, seconds: written.seconds(), page_version: me.page_version };
  try {
    const done = await withConsent(async () => { last = (await ask(`/api/leases/${lease}/answer`, sent)).answer; });
    if (!done) return;
    forget(lease);
    task = null;
    say(t(given.kind === "skip" ? "skipped" : "answered"));
    await refresh();
    await next();
  } catch (error) {
    await lost(error);
  }
}

async function lost(error) {
  tell(error);
  if (error.code !== "lease_gone") return;
  forget(task.lease);
  rest(t("leaseGone"));
}

function skip() {
  const reason = h("textarea", { rows: 2, maxlength: 2000 });
  const form = h("form", { class: "card", id: "skipping", onsubmit: (event) => { event.preventDefault(); answer({ kind: "skip", reason: reason.value.trim() }); } },
    field(t("skipReason"), reason), h("p", { class: "row" }, h("button", { class: "primary" }, t("skip")), button(t("cancel"), () => form.remove())));
  form.addEventListener("keydown", (event) => { if (event.key === "Escape") form.remove(); });
  document.getElementById("skipping")?.remove();
  parts.place.append(form);
  reason.focus();
}

async function giveBack() {
  try {
    await ask(`/api/leases/${task.lease}/return`, {});
    forget(task.lease);
    rest();
  } catch (error) {
    await lost(error);
  }
}

async function undo() {
  try {
    const newest = last ?? (await ask("/api/answers")).answers[0]?.id;
    if (newest) await reopen(newest);
  } catch (error) {
    tell(error);
  }
}

async function reopen(record) {
  const found = await ask(`/api/answers/${record}/undo`, {});
  saveDraft();
  last = null;
  sessionStorage.setItem("working", "yes");
  open(found.task);
  say(t("undone"));
}

async function renew() {
  if (!task || document.hidden) return;
  try {
    await ask(`/api/leases/${task.lease}/renew`, {});
  } catch (error) {
    await lost(error);
  }
}

function press(event) {
  if (!plain(event) || typing(event) || document.querySelector("dialog[open]")) return;
  const act = { s: task && skip, u: me?.answers && undo }[event.key];
  if (act) {
    event.preventDefault();
    act();
  } else task?.press?.(event);
}
