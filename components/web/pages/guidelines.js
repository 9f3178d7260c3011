// What labelers are asked to do, beside the task.

import { h } from "./dom.js";
import { t } from "./i18n.js";
import { keep, kept } from "./kept.js";

const POINTS = ["guideHelpful", "guideTruthful", "guideHarmless", "guideTrade", "guideTies", "guideSkip", "guideKeys"];

export function guidelines() {
  const details = h("details", {
    class: "guidelines", open: kept("guidelines", matchMedia("(min-width: 800px)").matches), ontoggle: () => keep("guidelines", details.open),
  }, h("summary", null, t("guidelines")), h("ul", null, POINTS.map((point) => h("li", null, t(point)))));
  return details;
}
