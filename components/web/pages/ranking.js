// InstructGPT's interface: rate each reply from 1 to 7 with flags, then rank all of them, ties welcome. Keys do all of it.

import { button, h } from "./dom.js";
import { t } from "./i18n.js";

const FLAGS = ["fails_task", "inappropriate", "hallucination", "satisfies_constraint", "sexual", "violent", "encourages_harm",
  "denigrates", "harmful_advice", "opinion", "moral_judgement"];
const BEST = 7;
const letter = (place) => String.fromCharCode(65 + place);

// Equal numbers are ties, and the next rank counts those before it: 1 3 3 7 becomes 1 2 2 4.
export const ranked = (given) => given.map((own) => 1 + given.filter((other) => other < own).length);

export function ranking(task, send) {
  const { values, save } = task.draft;
  const count = task.replies.length;
  const element = h("section", { class: "ranking" });
  let cards = [];

  const isRating = () => values.step === "rate";
  const current = () => (isRating() ? values.quality : values.ranks);
  const missing = () => current().indexOf(null);

  function draw(place) {
    cards = task.replies.map((text, each) => card(text, each));
    const step = h("h2", { id: "step" }, t(isRating() ? "rateEach" : "rankAll"));
    const keys = h("p", { class: "fine" }, t(isRating() ? "rateKeys" : "rankKeys", { n: isRating() ? BEST : count }));
    element.replaceChildren(step, keys, h("div", { class: "replies" }, cards), ...(isRating() ? [] : [order(), allBad()]), foot());
    cards[place]?.focus();
  }

  function card(text, place) {
    const top = isRating() ? BEST : count;
    const name = `${isRating() ? "quality" : "rank"}-${place}`;
    const numbers = Array.from({ length: top }, (_, number) => h("label", { class: "number" }, h("input", {
      type: "radio", name, value: number + 1, checked: current()[place] === number + 1, onchange: () => set(place, number + 1, false),
    }), h("span", null, number + 1)));
    return h("article", { class: "reply", tabindex: "0", "aria-label": t("reply", { name: letter(place) }), "data-place": place },
      h("h3", null, letter(place)), h("div", { class: "text", dir: "auto" }, text),
      h("fieldset", { class: "numbers" }, h("legend", null, t(isRating() ? "quality" : "rank")), numbers), isRating() ? flags(place) : null);
  }

  function flags(place) {
    const title = h("summary", null);
    const count = () => { title.textContent = t("flags", { n: values.flags[place].length }); };
    count();
    return h("details", { open: values.flags[place].length > 0 }, title, FLAGS.map((flag) => h("label", { class: "choice" }, h("input", {
      type: "checkbox", value: flag, checked: values.flags[place].includes(flag),
      onchange: (event) => {
        values.flags[place] = FLAGS.filter((each) => (each === flag ? event.target.checked : values.flags[place].includes(each)));
        count();
        save();
      },
    }), t(flag))));
  }

  const order = () => h("p", { class: "order", role: "status" }, ordered());

  function ordered() {
    const groups = [...new Set(values.ranks.filter(Boolean))].sort((one, other) => one - other)
      .map((rank) => values.ranks.flatMap((own, place) => (own === rank ? [letter(place)] : [])).join(" = "));
    return groups.length ? groups.join(" > ") : t("nothingRanked");
  }

  const allBad = () => h("label", { class: "choice" }, h("input", {
    type: "checkbox", id: "all-bad", checked: values.all_bad, onchange: (event) => { values.all_bad = event.target.checked; save(); },
  }), `${t("allBad")} (x)`);

  const foot = () => h("p", { class: "row" }, isRating() ? null : button(`${t("backToRating")} (r)`, () => step("rate")),
    button(`${t(isRating() ? "onToRanking" : "submit")} (Enter)`, forward, { class: "primary", id: "forward", disabled: missing() >= 0 }));

  function step(name) {
    values.step = name;
    save();
    draw(Math.max(0, missing()));
  }

  function forward() {
    if (missing() >= 0) cards[missing()].focus();
    else if (isRating()) step("rank");
    else send({ kind: "ranking", ranks: ranked(values.ranks), quality: values.quality, flags: values.flags, all_bad: values.all_bad });
  }

  // Note a number; by key, go on to the next reply.
  function set(place, number, byKey) {
    current()[place] = number;
    save();
    cards[place].querySelectorAll("input[type=radio]").forEach((radio) => { radio.checked = Number(radio.value) === number; });
    element.querySelector(".order")?.replaceChildren(ordered());
    element.querySelector("#forward").disabled = missing() >= 0;
    if (byKey) (cards[place + 1] ?? (missing() >= 0 ? cards[missing()] : cards[place])).focus();
  }

  function press(event) {
    const { key, target } = event;
    const place = cards.findIndex((each) => each.contains(document.activeElement));
    const isNumber = /^[1-9]$/.test(key) && Number(key) <= (isRating() ? BEST : count);
    const steps = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 };
    if (isNumber && place >= 0) set(place, Number(key), true);
    else if (key in steps && !(key.startsWith("Arrow") && target.matches("input"))) cards[Math.min(count - 1, Math.max(0, place + steps[key]))].focus();
    else if (key === "Enter" && !target.closest("button, summary, a, select")) forward();
    else if (key === "x" && !isRating()) element.querySelector("#all-bad").click();
    else if (key === "r" && !isRating()) step("rate");
    else return;
    event.preventDefault();
  }

  draw(-1);
  return { element, press, focus: () => cards[Math.max(0, missing())].focus() };
}
