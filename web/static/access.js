// Copies a new key. The button is there only where it can work.
(() => {
  "use strict";
  if (!navigator.clipboard) return;
  const offer = () => { for (const button of document.querySelectorAll("[data-copy]")) button.hidden = false; };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    try {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select it and copy";
    }
    document.getElementById("announce").textContent = button.textContent;
  });
  document.addEventListener("htmx:afterSwap", offer);
  offer();
})();
