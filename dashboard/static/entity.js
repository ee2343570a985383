// The page of a card, email domain, device or address.

import { pathOf } from "./panel.js";
import Related from "./related.js";
import { html, render } from "./vendor/htm/standalone.module.js";

document.addEventListener("flag:open", ({ detail }) => location.assign(pathOf(detail.id)));
render(html`<${Related} section=${document.querySelector(".related")} />`, document.createElement("div"));
