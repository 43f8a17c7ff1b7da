// Keeps what a swap would lose (open details, the reader's trust that the page is alive). No inline code, no eval.
(() => {
  "use strict";
  const live = document.getElementById("live");
  const liveText = document.getElementById("live-text");
  const announce = document.getElementById("announce");
  let open = [];
  let said = document.getElementById("rollouts")?.dataset.announce ?? "";

  const connected = (isUp) => {
    live.classList.toggle("is-lost", !isUp);
    const text = isUp ? "Live" : "No connection: these values are old";
    if (liveText.textContent !== text) {
      liveText.textContent = text;
      announce.textContent = text;
    }
  };

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden) event.preventDefault();
  });
  document.addEventListener("htmx:beforeSwap", () => {
    open = [...document.querySelectorAll("details[open][id]")].map((details) => details.id);
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const id of open) {
      const details = document.getElementById(id);
      if (details) details.open = true;
    }
    const now = document.getElementById("rollouts")?.dataset.announce ?? "";
    if (now !== said) {
      said = now;
      announce.textContent = now;
    }
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const status = event.detail.xhr?.status ?? 0;
    connected((status >= 200 && status < 300) || status === 304);
  });
})();
