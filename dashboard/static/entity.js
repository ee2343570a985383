// The page of a card, email domain, device or address.

import { connectRelated } from "./related.js";

document.addEventListener("flag:open", ({ detail }) => {
  location.assign(`/t/${encodeURIComponent(detail.id)}`);
});
connectRelated(document.querySelector(".related"), new AbortController().signal);
