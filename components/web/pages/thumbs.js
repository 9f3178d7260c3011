// A thumb on a reply, with reasons and what one would rather have read.

import { ask } from "./api.js";
import { withConsent } from "./consent.js";
import { button, field, h, say } from "./dom.js";
import { t } from "./i18n.js";
import * as tree from "./tree.js";

const REASONS = {
  1: ["right", "helpful", "well-written", "friendly"],
  "-1": ["wrong", "not-what-i-asked", "repeats-itself", "unfriendly", "unsafe"],
};

export function thumbs(talk, node, changed) {
  const bar = h("span", { class: "thumbs" });
  const place = h("div");
  const draw = () => {
    const given = node.feedback?.value;
    bar.replaceChildren(...[1, -1].map((value) => button(t(value > 0 ? "up" : "down"), () => open(value), {
      "aria-label": t(value > 0 ? "good" : "bad"), title: t(value > 0 ? "good" : "bad"), "aria-pressed": String(given === value),
      class: "quiet",
    })), ...(given ? [button(t("withdraw"), withdraw, { class: "quiet" })] : []));
  };
  const open = (value) => {
    place.replaceChildren(form(talk, node, value, () => { place.replaceChildren(); draw(); changed(); }));
    place.querySelector("input, textarea").focus();
  };
  const withdraw = async () => {
    try {
      await ask("/api/withdrawals", { record: node.feedback.id });
      delete node.feedback;
      changed();
      draw();
      say(t("withdrawn"));
    } catch (error) {
      say(error.message);
    }
  };
  draw();
  return { bar, place };
}

function form(talk, node, value, done) {
  const reasons = REASONS[value].map((tag) => h("input", { type: "checkbox", value: tag }));
  const correction = h("textarea", { rows: 3, maxlength: 20000 });
  const send = async (event) => {
    event.preventDefault();
    try {
      const sent = await withConsent(async () => {
        const tags = reasons.filter((box) => box.checked).map((box) => box.value);
        const { feedback } = await ask("/api/feedback", { ...record(talk, node), value, tags, correction: correction.value.trim() || null });
        node.feedback = { id: feedback, value };
      });
      if (sent) say(t("thanks"));
      done();
    } catch (error) {
      say(error.message);
    }
  };
  return h("form", { class: "card feedback", onsubmit: send },
    h("fieldset", null, h("legend", null, t("why")), reasons.map((box) => h("label", { class: "choice" }, box, t(box.value)))),
    field(t("rather"), correction), h("p", { class: "fine" }, t("thumbStores")),
    h("p", { class: "row" }, h("button", { class: "primary" }, t("send")), button(t("cancel"), done)));
}

const record = (talk, node) => ({
  conversation_id: talk.id, messages: tree.messages(talk, tree.find(talk, node.parent)), reply: node.content, model: node.model, ...node.request,
});
