// What was filled in of a task and is not sent yet: kept in the browser under the task's lease, so that a reload loses nothing.

import { drop, keep, kept, names } from "./kept.js";

const KIND = "draft:";
const KEPT = 20; // drafts of tasks that were left and went to somebody else

export const forget = (lease) => drop(KIND + lease);

export function draft(task) {
  const count = task.replies.length;
  const { earlier } = task;
  const begun = {
    step: "rate", quality: filled(earlier?.quality, count), ranks: filled(earlier?.ranks, count),
    flags: earlier?.flags?.length ? earlier.flags : Array.from({ length: count }, () => []),
    all_bad: earlier?.all_bad ?? false, text: earlier?.text ?? "", seconds: 0,
  };
  const values = { ...begun, ...kept(KIND + task.lease, {}) };
  const before = values.seconds;
  const shown = performance.now();
  const seconds = () => before + (performance.now() - shown) / 1000;
  const save = () => keep(KIND + task.lease, { ...values, seconds: seconds(), saved: Date.now() });
  tidy(KIND + task.lease);
  return { values, seconds, save };
}

const filled = (values, count) => (values?.length === count ? [...values] : Array(count).fill(null));

function tidy(own) {
  const others = names(KIND).filter((name) => name !== own).sort((one, other) => (kept(other, {}).saved ?? 0) - (kept(one, {}).saved ?? 0));
  others.slice(KEPT).forEach(drop);
}
