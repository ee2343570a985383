// The dialog that asks for a time zone other than UTC and the local one.

import { isZone } from "./view.js";

/** The name of a zone, or null if none was chosen. */
export function askForZone() {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-label", "Time zone");
  const form = document.createElement("form");
  form.method = "dialog";
  const label = document.createElement("label");
  label.textContent = "Time zone, such as Europe/Berlin";
  const input = document.createElement("input");
  input.setAttribute("list", "zones");
  input.autocomplete = "off";
  label.append(input);
  const list = document.createElement("datalist");
  list.id = "zones";
  list.append(...Intl.supportedValuesOf("timeZone").map((name) => new Option(name)));
  const buttons = document.createElement("p");
  buttons.className = "row";
  const use = button("Use this zone", "primary", "use");
  const cancel = button("Cancel", "", "cancel");
  cancel.formNoValidate = true;
  buttons.append(use, cancel);
  form.append(label, list, buttons);
  dialog.append(form);
  input.addEventListener("input", () => {
    const isKnown = isZone(input.value.trim());
    input.setCustomValidity(isKnown ? "" : "No such time zone");
  });
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const name = input.value.trim();
      dialog.remove();
      resolve(dialog.returnValue === "use" && isZone(name) && name ? name : null);
    });
  });
}

function button(text, className, value) {
  const made = document.createElement("button");
  made.textContent = text;
  made.className = className;
  made.value = value;
  return made;
}
