// Which model answers, and how it samples. What is left empty is the server's choice.

import { ask } from "./api.js";
import { field, h } from "./dom.js";
import { t } from "./i18n.js";
import { keep, kept } from "./kept.js";

const NUMBERS = {
  temperature: { min: 0, max: 2, step: 0.1, placeholder: "1" },
  top_p: { min: 0, max: 1, step: 0.05, placeholder: "1" },
  max_tokens: { min: 1, max: 4096, step: 1, placeholder: "40" },
  seed: { min: 0, max: 2 ** 31 - 1, step: 1, placeholder: "" },
};

// The fields of a request. Each has a seed, so that a reply that somebody judges can be made again.
export function sampling() {
  const given = kept("settings", {});
  const fields = Object.fromEntries(Object.keys(NUMBERS).filter((name) => Number.isFinite(given[name])).map((name) => [name, given[name]]));
  return { seed: crypto.getRandomValues(new Uint32Array(1))[0] >>> 1, ...fields };
}

export function settings() {
  const given = kept("settings", {});
  const controls = Object.entries(NUMBERS).map(([name, range]) => {
    const input = h("input", {
      type: "number", inputmode: "decimal", id: `setting-${name}`, ...range, placeholder: range.placeholder || t("random"),
      value: given[name] ?? "",
      onchange: () => {
        given[name] = input.value !== "" && input.checkValidity() ? input.valueAsNumber : undefined;
        input.reportValidity();
        keep("settings", given);
      },
    });
    return field(t(name), input);
  });
  return h("details", { class: "settings" }, h("summary", null, t("settings")), h("div", { class: "fields" }, controls));
}

// A select that is filled with the registered models; `chosen` is kept under a name of its own.
export function picker(name, label, change = () => {}) {
  const select = h("select", { "aria-label": label, onchange: () => { keep(name, select.value); change(); } });
  const filled = models().then((ids) => {
    const [first, ...groups] = grouped(ids);
    select.append(...first[1].map(option), ...groups.map(([title, own]) => h("optgroup", { label: t(title) }, own.map(option))));
    const wanted = kept(name, null);
    if (ids.includes(wanted)) select.value = wanted;
  });
  return { select, filled };
}

const option = (id) => h("option", { value: id }, id);

const grouped = (ids) => [
  ["models", ids.filter((id) => !/[@/]/.test(id))],
  ["aliases", ids.filter((id) => id.includes("@"))],
  ["versions", ids.filter((id) => id.includes("/"))],
].filter(([, own]) => own.length);

const FRESH_MILLISECONDS = 5000; // several pickers ask at once
let asked = { at: -Infinity };

// Ids of the models, those whose version passed its gate first.
function models() {
  if (performance.now() - asked.at > FRESH_MILLISECONDS) asked = { at: performance.now(), ids: list() };
  return asked.ids;
}

async function list() {
  const { data } = await ask("/v1/models");
  const champion = (model) => (model.aliases.includes("champion") ? 0 : 1);
  return data.filter((model) => model.writes).sort((one, other) => champion(one) - champion(other)).map((model) => model.id);
}
