// Short messages in the corner of the page. One of them may carry an action, such as Undo.

import { waysOf } from "./request.js";
import { html, render } from "./vendor/htm/standalone.module.js";

const DEFAULT_SECONDS = 6;
let toasts = [];
let last = 0;

/**
 * Show a message. `action` is the text of a button, `onAction` what it does, `seconds` how long the
 * message stays: 0 means until it is closed. Returns a function that closes it.
 */
export function toast(text, { action, onAction, seconds = DEFAULT_SECONDS } = {}) {
  const key = ++last;
  const close = () => {
    toasts = toasts.filter((each) => each.key !== key);
    draw();
  };
  toasts = [...toasts, { key, text, action, onAction, close }];
  draw();
  if (seconds > 0) setTimeout(close, seconds * 1000);
  return close;
}

/** Say that something failed, and why, with the way on. `retry` does it again. */
export function toastFailure(text, error, retry) {
  const [{ name, href, act } = {}] = waysOf(error, retry);
  toast(`${text} ${error.message}`, { action: name, onAction: act ?? (() => location.assign(href)), seconds: 0 });
}

function Toast({ text, action, onAction, close }) {
  const act = () => {
    close();
    onAction?.();
  };
  return html`<div class="toast"><span>${text}</span>
    ${action && html`<button type="button" class="primary" onClick=${act}>${action}</button>`}
    <button type="button" class="quiet" aria-label="Close this message" onClick=${close}>✕</button>
  </div>`;
}

function draw() {
  const shown = toasts.map((each) => html`<${Toast} ...${each} />`);
  render(shown, document.getElementById("toasts")); // which base.html has on every page
}
