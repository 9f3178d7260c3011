// Lineage: the pipelines, each registered version with what it was made of and what was found of it, and the runs.

import { ask } from "./api.js";
import { field, h, say } from "./dom.js";
import { language, t } from "./i18n.js";

let filter = "";

export function show(view) {
  const place = h("div", null, h("p", { class: "empty" }, t("loading")));
  view.append(place);
  ask("/api/lineage").then((told) => place.replaceChildren(...sections(told))).catch((error) => { place.replaceChildren(h("p", { class: "note error" }, error.message)); say(error.message); });
}

function sections(told) {
  const list = h("div", { class: "versions" });
  const search = h("input", { type: "search", value: filter, oninput: () => { filter = search.value; draw(); } });
  const draw = () => {
    const among = told.versions.filter((each) => [each.id, each.pipeline, each.node, ...each.aliases].some((word) => word.includes(filter)));
    list.replaceChildren(...(among.length ? among.map(version) : [h("p", { class: "empty" }, t("noVersions"))]));
  };
  draw();
  return [
    !told.linked && h("p", { class: "fine" }, t("notLinked")),
    h("section", { "aria-labelledby": "versions" }, h("h2", { id: "versions" }, t("versions")), field(t("search"), search), list),
    h("section", { "aria-labelledby": "runs" }, h("h2", { id: "runs" }, t("runs")), runs(told.lineages)),
    h("section", { "aria-labelledby": "pipelines" }, h("h2", { id: "pipelines" }, t("pipelines")), told.pipelines.map(pipeline)),
  ].filter(Boolean);
}

const link = (address, text) => (address ? h("a", { href: address, target: "_blank", rel: "noopener" }, text) : null);
const day = (seconds) => new Date(1000 * seconds).toLocaleString(language(), { dateStyle: "medium", timeStyle: "short" });
const figure = (value) => (Number.isInteger(value) ? value : Number(value.toPrecision(4))).toLocaleString(language(), { maximumSignificantDigits: 6 });

const digest = (value) => value && h("code", { title: value }, value.slice(0, 12) + (value.endsWith("+") ? "+" : ""));

function version(each) {
  const gate = each.gate === null ? t("notJudged") : each.gate === "passed" ? t("passed") : each.gate;
  const rows = [
    [t("from"), each.parents.length ? each.parents.map((parent) => h("a", { href: "#lineage", onclick: (event) => go(event, parent) }, parent)) : null],
    [t("gate"), h("span", { class: each.gate === "passed" ? "good" : each.gate === null ? "" : "bad" }, gate)],
    [t("bounds"), each.bounds],
    [t("made"), [each.pipeline, each.node, day(each.created)].filter(Boolean).join(" · ")],
    [t("weights"), digest(each.weights_sha256)],
    [t("code"), digest(each.commit)],
    [t("data"), digest(each.data)],
    ...Object.entries(each.figures).map(([name, value]) => [name, figure(value)]),
  ].filter(([, value]) => value !== null && value !== "");
  return h("article", { class: "version card", id: each.id, tabindex: "-1" },
    h("h3", null, each.id, each.aliases.map((alias) => h("span", { class: "alias" }, alias))),
    h("dl", null, rows.map(([name, value]) => [h("dt", null, name), h("dd", null, value)])),
    h("p", { class: "row" }, link(each.page, t("inRegistry")), link(each.run, t("runInMlflow"))));
}

function go(event, id) {
  event.preventDefault();
  const target = document.getElementById(id);
  target?.scrollIntoView({ block: "center" });
  target?.focus();
}

function runs(lineages) {
  if (!lineages.length) return h("p", { class: "empty" }, t("noRuns"));
  const head = ["run", "pipeline", "started", "state", "gate", "versions"];
  const row = (each) => h("tr", null, h("th", { scope: "row" }, link(each.page, each.name) ?? each.name), h("td", null, each.pipeline), h("td", null, day(each.started)),
    h("td", null, each.status, " ", link(each.flow, "Prefect")), h("td", null, each.gates), h("td", null, each.models.join(" ")));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-labelledby": "runs" },
    h("table", null, h("thead", null, h("tr", null, head.map((name) => h("th", { scope: "col" }, t(name))))), h("tbody", null, lineages.map(row))));
}

function pipeline({ name, nodes }) {
  return h("details", { open: name === "default" }, h("summary", null, name), h("ul", { class: "nodes" }, nodes.map((node) =>
    h("li", null, h("strong", null, node.name), node.makers.length > 0 && ` ← ${node.makers.join(", ")}`, node.model && h("span", { class: "alias" }, node.model)))));
}
