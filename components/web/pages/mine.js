// What a labeler has said so far. They may see it, change an answer and take anything back.

import { ask } from "./api.js";
import { button, h, say } from "./dom.js";
import { language, t } from "./i18n.js";

export function mine(me, { undo, changed }) {
  const list = h("div");
  const draw = async () => {
    const [{ answers }, { feedback }] = await Promise.all([ask("/api/answers"), ask("/api/feedback")]);
    const rows = [...answers.map((each) => row(each, summary(each), true)), ...feedback.map((each) => row(each, thumb(each), false))];
    list.replaceChildren(...(rows.length ? rows : [h("p", { class: "empty" }, t("nothingSaid"))]));
  };
  const act = async (does) => {
    try {
      await does();
    } catch (error) {
      say(error.message);
    }
  };
  const withdraw = (record) => act(async () => {
    await ask("/api/withdrawals", { record });
    say(t("withdrawn"));
    await changed();
  });
  const row = (each, text, changes) => h("article", { class: "mine", "data-record": each.id },
    h("h3", null, new Date(1000 * each.answered_at).toLocaleString(language())), h("p", { dir: "auto" }, each.messages.at(-1).content), h("p", null, text),
    h("p", { class: "row" }, changes && button(t("change"), () => act(() => undo(each.id))), button(t("withdraw"), () => withdraw(each.id))));
  const details = h("details", { id: "mine", open: wasOpen, ontoggle: () => { wasOpen = details.open; if (details.open) act(draw); } }, h("summary", null, t("mine")), h("p", { class: "fine" }, t("mineHint")), list);
  return details;
}

let wasOpen = false; // the list is made anew after each answer

function summary(answer) {
  if (answer.kind === "skip") return `${t("skipped")} ${answer.reason}`;
  if (answer.kind === "demonstration") return answer.text;
  return answer.replies.map((reply, place) => `${answer.ranks[place]}. ${reply}`).sort().join("  ");
}

const thumb = (given) => [t(given.value > 0 ? "good" : "bad"), given.model, ...given.tags.map((tag) => t(tag)), given.correction].filter(Boolean).join(" · ");
