// Elements from names and texts. Nothing here reads markup: whatever a text holds, it stays text.

const PROPERTIES = new Set(["value", "checked", "disabled", "selected", "open", "hidden", "tabIndex"]);

export function h(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (PROPERTIES.has(name)) element[name] = value;
    else if (value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const button = (label, press, properties) => h("button", { type: "button", onclick: press, ...properties }, label);

// A control with its label before it.
export const field = (label, control) => h("label", { class: "field" }, h("span", null, label), control);

// Said to screen readers, and shown for a moment.
let fading;
export function say(text) {
  const status = document.getElementById("status");
  status.textContent = text;
  clearTimeout(fading);
  fading = setTimeout(() => { status.textContent = ""; }, 6000);
}

// Whether a key press means nothing but that key: no modifier, and no input method is composing a character.
export const plain = (event) => !(event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.keyCode === 229);

// Whether keys belong to the element that has the focus.
export const typing = (event) => event.target.matches("textarea, select, input:not([type=radio]):not([type=checkbox])");
