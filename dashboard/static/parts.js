// What the components of the desk share.

import { html, render, useEffect, useLayoutEffect, useRef, useState } from "./vendor/htm/standalone.module.js";

export function tell(name, detail = {}) {
  document.dispatchEvent(new CustomEvent(name, { detail }));
}

/** What failed, with buttons or links for the ways on: [{name, href or act}]. */
export function Notice({ text, ways = [] }) {
  return html`<p class="banner amber notice" role="alert">${text}${ways.map(({ name, href, act }) => (
    href ? html` <a href=${href}>${name}</a>` : html` <button type="button" onClick=${act}>${name}</button>`
  ))}</p>`;
}

/** Shows its children in a place of the page that the server rendered, instead of what is there. */
export function Into({ place, children }) {
  useLayoutEffect(() => {
    place?.replaceChildren();
    return () => place && render(null, place);
  }, [place]);
  useLayoutEffect(() => place && render(children, place));
}

const Unavailable = () => html`<${Notice} text="A part of this page could not be loaded. Load the page again." />`;
const loaded = new Map(); // so that what was fetched once is drawn at once

/** A component whose code is fetched now: `load` imports the module that has it as its default. */
export function Later({ load, ...props }) {
  const [part, setPart] = useState(() => loaded.get(load) ?? null);
  useEffect(() => {
    if (part) return undefined;
    let isHere = true;
    load().then(({ default: found }) => {
      loaded.set(load, found);
      if (isHere) setPart(() => found);
    }).catch(() => isHere && setPart(() => Unavailable));
    return () => { isHere = false; };
  }, []);
  return part && html`<${part} ...${props} />`;
}

export function useEvent(name, act, target = document) {
  useLayoutEffect(() => {
    target?.addEventListener(name, act);
    return () => target?.removeEventListener(name, act);
  });
}

export function useInterval(millis, act) {
  const latest = useRef();
  latest.current = act;
  useEffect(() => {
    const timer = setInterval(() => latest.current(), millis);
    return () => clearInterval(timer);
  }, [millis]);
}
