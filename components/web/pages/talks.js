// Conversations: kept in this browser and nowhere else; to a file and back.

import { h, say } from "./dom.js";
import { t } from "./i18n.js";
import { drop, keep, kept, names } from "./kept.js";
import * as tree from "./tree.js";

const KIND = "talk:";

export function save(talk) {
  if (talk.nodes.length && !keep(KIND + talk.id, talk)) say(t("notKept"));
}

export const all = () => names(KIND).map((name) => kept(name, null)).filter(Boolean).sort((one, other) => other.changed - one.changed);

export const remove = (talk) => drop(KIND + talk.id);

export function download() {
  const address = URL.createObjectURL(new Blob([tree.exported(all())], { type: "application/json" }));
  h("a", { href: address, download: "conversations.json" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

// Take a file's conversations in; of one that is here already the newer counts. How many were taken.
export async function upload(file) {
  const known = new Map(all().map((talk) => [talk.id, talk]));
  const newer = tree.imported(await file.text()).filter((talk) => !(known.get(talk.id)?.changed >= talk.changed));
  newer.forEach(save);
  return newer.length;
}
