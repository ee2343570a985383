// The dialog that asks for a time zone other than UTC and the local one.

import { html, render } from "./vendor/htm/standalone.module.js";
import { isZone } from "./view.js";

/** The name of a zone, or null if none was chosen. */
export function askForZone() {
  return new Promise((resolve) => {
    const place = document.body.appendChild(document.createElement("div"));
    const onClose = ({ target }) => {
      const name = target.querySelector("input").value.trim();
      render(null, place);
      place.remove();
      resolve(target.returnValue === "use" && isZone(name) && name ? name : null);
    };
    render(html`<${ZoneDialog} onClose=${onClose} />`, place);
    place.firstElementChild.showModal();
  });
}

function ZoneDialog({ onClose }) {
  const check = ({ target }) => target.setCustomValidity(isZone(target.value.trim()) ? "" : "No such time zone");
  const names = Intl.supportedValuesOf("timeZone");
  return html`<dialog aria-label="Time zone" onClose=${onClose}><form method="dialog">
    <label>Time zone, such as Europe/Berlin<input list="zones" autocomplete="off" onInput=${check} /></label>
    <datalist id="zones">${names.map((name) => html`<option value=${name} />`)}</datalist>
    <p class="row"><button class="primary" value="use">Use this zone</button><button value="cancel" formnovalidate>Cancel</button></p>
  </form></dialog>`;
}
