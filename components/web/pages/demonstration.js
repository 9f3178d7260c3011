// A demonstration: the reply that a labeler would want, in their own words.

import { field, h } from "./dom.js";
import { t } from "./i18n.js";

export function demonstration(task, send) {
  const { values, save } = task.draft;
  const text = h("textarea", { rows: 8, maxlength: 20000, id: "demonstration", value: values.text, oninput: () => { values.text = text.value; save(); } });
  const element = h("form", {
    class: "demonstration",
    onsubmit: (event) => {
      event.preventDefault();
      if (text.value.trim()) send({ kind: "demonstration", text: text.value.trim() });
    },
    onkeydown: (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) element.requestSubmit(); },
  }, h("h2", null, t("writeReply")), field(t("yourReply"), text), h("p", { class: "row" }, h("button", { class: "primary" }, `${t("submit")} (Ctrl+Enter)`)));
  return { element, focus: () => text.focus() };
}
