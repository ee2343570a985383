// The API reference: buttons that copy the commands. The page itself needs no JavaScript.
for (const command of document.querySelectorAll("[data-copy]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.setAttribute("aria-label", `Copy: ${command.getAttribute("aria-label")}`);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(command.textContent);
      button.textContent = "Copied";
    } catch {
      // Without HTTPS there is no clipboard: select the text, so that Ctrl+C copies it.
      getSelection().selectAllChildren(command);
      button.textContent = "Press Ctrl+C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  const place = document.createElement("div");
  place.className = "copied";
  command.replaceWith(place);
  place.append(command, button);
}
