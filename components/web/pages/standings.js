// How versions stand by the votes.

import { h } from "./dom.js";
import { language, t } from "./i18n.js";

const round = (value) => Math.round(value).toLocaleString(language());
const between = (value, low, high) => `${round(value)} (${round(low)}–${round(high)})`;

export function standings({ votes, outcomes, ratings }) {
  if (!votes) return h("p", { class: "empty" }, t("noVotes"));
  const head = ["model", "bradleyTerry", "elo", "battles", "wins", "losses"];
  const row = (each) => h("tr", null, h("th", { scope: "row" }, each.model), h("td", null, between(each.rating, each.low, each.high)),
    h("td", null, between(each.elo, each.elo_low, each.elo_high)), [each.battles, each.wins, each.losses].map((count) => h("td", null, count)));
  return h("div", null,
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-labelledby": "standings" }, h("table", null,
      h("thead", null, h("tr", null, head.map((name) => h("th", { scope: "col" }, t(name))))), h("tbody", null, ratings.map(row)))),
    h("p", { class: "fine" }, t("standingsHint", { n: votes, ties: outcomes.tie, bad: outcomes.both_bad })));
}
