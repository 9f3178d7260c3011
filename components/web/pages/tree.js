// A conversation as a tree of messages: an edited message and a second reply are further branches, nothing is lost.

const FORMAT = "gptlineage-conversations";

const identifier = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");

// `nodes` in the order in which they were made, each after its parent; `chosen` is the branch shown below each node.
export const begin = () => ({ id: identifier(), title: "", system: "", changed: Date.now(), nodes: [], chosen: {} });

export const find = (talk, id) => talk.nodes.find((node) => node.id === id);

export const children = (talk, parent) => talk.nodes.filter((node) => node.parent === parent);

export function add(talk, parent, role, content, about = {}) {
  const node = { id: identifier(), parent, role, content, ...about };
  talk.nodes.push(node);
  choose(talk, node);
  if (!talk.title && role === "user") talk.title = content.slice(0, 60);
  return node;
}

export function choose(talk, node) {
  talk.chosen[node.parent ?? ""] = node.id;
  talk.changed = Date.now();
}

// The messages that are shown, from the first one on.
export function path(talk) {
  const shown = [];
  for (let parent = null; ;) {
    const among = children(talk, parent);
    if (!among.length) return shown;
    const node = among.find((each) => each.id === talk.chosen[parent ?? ""]) ?? among.at(-1);
    shown.push(node);
    parent = node.id;
  }
}

// The messages above a node and the node itself.
export function upTo(talk, node) {
  const found = [];
  for (let each = node; each; each = find(talk, each.parent)) found.unshift(each);
  return found;
}

// What a model is sent to answer a user's message. A turn whose reply is empty cannot be said again: it is left out.
export function messages(talk, node) {
  const above = upTo(talk, node);
  const said = above.filter((each, place) => each.content && !(above[place + 1]?.role === "assistant" && !above[place + 1].content));
  const system = talk.system ? [{ role: "system", content: talk.system }] : [];
  return [...system, ...said.map(({ role, content }) => ({ role, content }))];
}

export const exported = (talks) => JSON.stringify({ format: FORMAT, version: 1, conversations: talks }, null, 1);

// Conversations of an exported text, each checked. Raises an Error that says what is wrong.
export function imported(text) {
  const { format, version, conversations } = JSON.parse(text);
  if (format !== FORMAT || version !== 1 || !Array.isArray(conversations)) throw new Error(FORMAT);
  return conversations.map(checked);
}

const isText = (...values) => values.every((value) => typeof value === "string");

function checked(talk) {
  if (!isText(talk.id, talk.title, talk.system) || !/^[0-9a-f]{16}$/.test(talk.id) || !Array.isArray(talk.nodes)) throw new Error("id");
  const seen = new Map([[null, null]]);
  for (const node of talk.nodes) {
    const due = seen.get(node.parent) === "user" ? "assistant" : "user";
    if (!isText(node.id, node.content) || !seen.has(node.parent) || seen.has(node.id) || node.role !== due) throw new Error("nodes");
    seen.set(node.id, node.role);
  }
  const chosen = Object.fromEntries(Object.entries(talk.chosen ?? {}).filter(([, id]) => seen.has(id)));
  return { ...talk, changed: Number(talk.changed) || 0, chosen };
}
