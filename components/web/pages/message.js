// A message of a conversation, with what can be done with it.

import { button, h } from "./dom.js";
import { t } from "./i18n.js";
import { thumbs } from "./thumbs.js";
import * as tree from "./tree.js";

// `acts` are what the conversation's page does; `growing` is the node of the reply that is being made, if any.
export function message(talk, node, acts, growing) {
  const mine = node.role === "user";
  const article = h("article", { class: node.role, "data-node": node.id, "aria-busy": String(node === growing) },
    h("h3", null, mine ? t("you") : node.model), h("div", { class: "text", dir: "auto" }, node.content), notes(node, growing));
  if (growing) return article;
  const bar = h("div", { class: "acts" }, branches(talk, node, acts));
  article.append(bar);
  if (mine) bar.append(button(t("edit"), () => edit(article, node, acts), { class: "quiet" }));
  else {
    bar.append(button(t("regenerate"), () => acts.regenerate(node), { class: "quiet" }));
    if (node.content && node.finish !== "stopped" && !node.error) {
      const judged = thumbs(talk, node, acts.changed);
      bar.append(judged.bar);
      article.append(judged.place);
    }
  }
  return article;
}

function notes(node, growing) {
  const said = [
    node.forgotten > 0 && t("forgotten", { n: node.forgotten }),
    node.cut && t("cut"),
    node.finish === "length" && t("atLimit"),
    node.finish === "stopped" && t("wasStopped"),
    node.error && t("failed", { why: node.error }),
    node.role === "assistant" && node !== growing && !node.content && !node.error && t("emptyReply"),
  ];
  return said.filter(Boolean).map((text) => h("p", { class: node.error ? "note error" : "note" }, text));
}

// "2/3": which of the messages in this place is shown.
function branches(talk, node, acts) {
  const among = tree.children(talk, node.parent);
  if (among.length < 2) return null;
  const place = among.indexOf(node);
  const step = (by, sign, label) => button(sign, () => acts.choose(among[place + by]), { disabled: !among[place + by], "aria-label": label, class: "quiet" });
  return h("span", { class: "branches", role: "group", "aria-label": t("branch") },
    step(-1, "‹", t("before")), h("span", { "aria-live": "polite" }, `${place + 1}/${among.length}`), step(1, "›", t("after")));
}

function edit(article, node, acts) {
  const text = h("textarea", { rows: 3, "aria-label": t("edit") }, node.content);
  const back = article.querySelector(".text");
  const form = h("form", {
    class: "edit",
    onsubmit: (event) => {
      event.preventDefault();
      if (text.value.trim()) acts.edit(node, text.value.trim());
    },
    onkeydown: (event) => { if (event.key === "Escape") form.replaceWith(back); },
  }, text, h("p", { class: "row" }, h("button", { class: "primary" }, t("send")), button(t("cancel"), () => form.replaceWith(back))));
  back.replaceWith(form);
  text.focus();
}
