// Keeps what a swap would lose (open details, focus, the reader's trust that the page is alive), and the theme. No inline code, no eval.
(() => {
  "use strict";
  const live = document.getElementById("live");
  const liveText = document.getElementById("live-text");
  const announce = document.getElementById("announce");
  const problem = document.getElementById("problem");
  const said = new Map();
  let open = [];
  let focused = null;
  let failed = ""; // of what #problem tells: "live" or "act"

  const isLive = (element) => element?.matches?.("[data-live]") ?? false;
  const say = (text) => { if (text) announce.textContent = text; };

  const connected = (isUp) => {
    live.classList.toggle("is-lost", !isUp);
    const text = isUp ? "Live" : "No connection: these values are old";
    if (liveText.textContent !== text) {
      liveText.textContent = text;
      say(text);
    }
  };

  for (const element of document.querySelectorAll("[data-live]")) said.set(element.id, element.dataset.announce);
  live.hidden = said.size === 0;
  // On a phone the place where one is may lie outside of the navigation's window.
  const here = document.querySelector(".places a[aria-current]");
  const places = here?.closest("ul");
  if (places) places.scrollLeft = here.offsetLeft - (places.clientWidth - here.offsetWidth) / 2;

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden && event.target.matches?.("[data-live]")) event.preventDefault();
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    // What goes on failing is said once.
    if (event.detail.isError && failed === "live" && problem.hasChildNodes() && isLive(event.detail.requestConfig?.elt)) {
      event.detail.shouldSwap = false;
    }
    open = [...document.querySelectorAll("details[open][id]")].map((details) => details.id);
    focused = event.detail.target.contains(document.activeElement) ? document.activeElement.id : null;
  });
  document.addEventListener("htmx:afterSettle", () => {
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    focused = null;
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const id of open) {
      const details = document.getElementById(id);
      if (details) details.open = true;
    }
    for (const element of document.querySelectorAll("[data-live]")) {
      if (said.get(element.id) !== element.dataset.announce) {
        said.set(element.id, element.dataset.announce);
        say(element.dataset.announce);
      }
    }
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const status = event.detail.xhr?.status ?? 0;
    const isUp = (status >= 200 && status < 300) || status === 304;
    const kind = isLive(event.target) || isLive(event.detail.elt) ? "live" : "act";
    if (!isUp) {
      failed = kind;
    } else if (failed === kind) {
      problem.replaceChildren();
      failed = "";
    }
    if (kind === "live") connected(isUp);
  });

  document.getElementById("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const isDark = getComputedStyle(root).colorScheme === "dark" ||
      (getComputedStyle(root).colorScheme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
    root.dataset.theme = isDark ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* it lasts for this page */ }
    document.dispatchEvent(new CustomEvent("themechange"));
  });
})();
