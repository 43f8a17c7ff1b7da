// The confirmation of an act as a dialog, and everything unfolded on paper. No inline code, no eval.
(() => {
  "use strict";
  const dialog = document.getElementById("confirm");
  let asked = "";
  let kept = { asked: "", reason: "" }; // of an act that failed

  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target?.id !== "confirm-body") return;
    asked = event.detail.requestConfig?.elt?.id ?? "";
    if (kept.asked === asked) dialog.querySelector("#reason").value = kept.reason;
    dialog.showModal();
  });
  // What went wrong is said on the page, which the dialog would hide.
  document.addEventListener("htmx:responseError", () => {
    if (!dialog.open) return;
    kept = { asked, reason: dialog.querySelector("#reason").value };
    dialog.close();
  });
  dialog.addEventListener("click", (event) => {
    if (!event.target.closest("[data-close]")) return;
    event.preventDefault();
    dialog.close();
  });
  // The button may have been replaced meanwhile, so that the browser cannot give it the focus back.
  dialog.addEventListener("close", () => { document.getElementById(asked)?.focus(); });

  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let each = target; each; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true;
    target?.scrollIntoView();
    return target !== null;
  };
  window.addEventListener("hashchange", reveal);
  // Segments come after the page: an address of one of them waits for it.
  let isDue = location.hash !== "" && !reveal();
  document.addEventListener("htmx:afterSettle", () => { if (isDue) isDue = !reveal(); });

  let unfolded = [];
  window.addEventListener("beforeprint", () => {
    unfolded = [...document.querySelectorAll("details:not([open]):not(.who)")];
    for (const details of unfolded) details.open = true;
  });
  window.addEventListener("afterprint", () => { for (const details of unfolded) details.open = false; });
})();
