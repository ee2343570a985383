// Short messages in the corner of the page. One of them may carry an action, such as Undo.

const DEFAULT_SECONDS = 6;

/**
 * Show a message. `action` is the text of a button, `onAction` what it does, `seconds` how long the
 * message stays: 0 means until it is closed. Returns a function that closes it.
 */
export function toast(text, { action, onAction, seconds = DEFAULT_SECONDS } = {}) {
  const box = document.createElement("div");
  box.className = "toast";
  const words = document.createElement("span");
  words.textContent = text;
  box.append(words);
  let timer = 0;
  const close = () => {
    clearTimeout(timer);
    box.remove();
  };
  if (action) {
    box.append(button(action, "primary", () => {
      close();
      onAction?.();
    }));
  }
  const dismiss = button("✕", "quiet", close);
  dismiss.setAttribute("aria-label", "Close this message");
  box.append(dismiss);
  area().append(box);
  if (seconds > 0) timer = setTimeout(close, seconds * 1000);
  return close;
}

function button(text, className, onClick) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = className;
  made.textContent = text;
  made.addEventListener("click", onClick);
  return made;
}

/** The area that base.html has on every page. */
function area() {
  return document.getElementById("toasts");
}
