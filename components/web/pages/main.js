// The four pages, and what they share: the bar above them and the language.

import * as chat from "./chat.js";
import * as compare from "./compare.js";
import { h } from "./dom.js";
import { LANGUAGES, language, speak, t } from "./i18n.js";
import * as label from "./label.js";
import * as lineage from "./lineage.js";

const PAGES = { chat, compare, label, lineage };
const view = document.getElementById("view");
let leave = null; // what the page that is shown does when another one comes

const named = () => (location.hash.slice(1) in PAGES ? location.hash.slice(1) : "chat");

function show() {
  const name = named();
  leave?.();
  document.documentElement.lang = language();
  document.title = `${t(name)} · gptlineage`;
  document.querySelector(".skip").textContent = t("skipToContent");
  document.querySelector("header nav").setAttribute("aria-label", t("pages"));
  document.querySelector("header nav").replaceChildren(...Object.keys(PAGES).map((page) =>
    h("a", { href: `#${page}`, "aria-current": page === name ? "page" : null }, t(page))));
  document.querySelector("header .tools").replaceChildren(languages());
  view.className = name;
  view.replaceChildren();
  leave = PAGES[name].show(view) ?? null;
}

function languages() {
  const choice = h("select", { id: "language", "aria-label": t("language"), onchange: () => { speak(choice.value); show(); document.getElementById("language").focus(); } },
    Object.entries(LANGUAGES).map(([code, name]) => h("option", { value: code, selected: code === language() }, name)));
  return choice;
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names the page
  view.focus();
});
addEventListener("hashchange", () => { show(); view.focus(); });
show();
