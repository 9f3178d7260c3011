// Nobody's text is kept before they have agreed to it, once.

import { ask } from "./api.js";
import { button, h } from "./dom.js";
import { t } from "./i18n.js";

export const WORDING = "2026-01"; // of the text `consent`; another text is another version

// Do what may need consent; where the server asks for it, ask the person, and then do it. Whether it was done.
export async function withConsent(act) {
  try {
    await act();
    return true;
  } catch (error) {
    if (error.code !== "consent_needed") throw error;
  }
  if (!(await agreed())) return false;
  await ask("/api/consent", { wording: WORDING });
  await act();
  return true;
}

function agreed() {
  return new Promise((answer) => {
    const dialog = h("dialog", { class: "consent", "aria-labelledby": "consent-title" },
      h("h2", { id: "consent-title" }, t("consentTitle")), h("p", null, t("consent")),
      h("form", { method: "dialog", class: "row" },
        h("button", { value: "yes", class: "primary" }, t("agree")), button(t("notNow"), () => dialog.close())));
    dialog.addEventListener("close", () => { dialog.remove(); answer(dialog.returnValue === "yes"); });
    document.body.append(dialog);
    dialog.showModal();
  });
}
