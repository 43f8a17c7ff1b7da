// Keys, drafts and leases of the review pages. Everything works without it too, by hand.
(() => {
  "use strict";
  const form = document.getElementById("grading");
  if (!form) return;
  const $ = (id) => document.getElementById(id);
  let csrf = form.elements.csrf.value;
  const item = form.dataset.item;
  const hasDrafts = item && form.dataset.drafts !== "no";
  const announce = $("announce");
  const sheet = $("sheet");
  const desk = $("desk");
  const cards = [...form.querySelectorAll(".criterion")];
  const DRAFT_MS = 800;
  const IDLE_MS = 60_000;
  const say = (text) => { announce.textContent = text; };

  for (const id of ["raw", "keys", "from-answer"]) if ($(id)) $(id).hidden = false;

  // The current criterion: where keys go. It follows the focus too.
  let current = cards.findIndex((card) => !card.querySelector(":checked"));
  if (current < 0) current = 0;
  const mark = () => cards.forEach((card, index) => card.classList.toggle("is-current", index === current));
  const move = (to) => {
    if (!cards.length) return;
    current = Math.min(Math.max(to, 0), cards.length - 1);
    mark();
    const chosen = cards[current].querySelector(":checked") ?? cards[current].querySelector("input");
    chosen.focus({ preventScroll: true });
    cards[current].scrollIntoView({ block: "nearest" });
  };
  cards.forEach((card, index) => card.addEventListener("focusin", () => { current = index; mark(); }));
  mark();

  const choose = (key) => {
    const card = cards[current];
    const radio = card && [...card.querySelectorAll("input[type=radio]")].find((each) => each.dataset.key === key || each.getAttribute("data-key-2") === key);
    if (!radio) return false;
    radio.checked = true;
    radio.dispatchEvent(new Event("change", { bubbles: true }));
    const label = radio.closest("label").querySelector(".option-label").textContent;
    say(`${card.querySelector(".criterion-name").textContent}: ${label}`);
    const open = cards.findIndex((each, index) => index > current && !each.querySelector(":checked"));
    if (open >= 0) move(open);
    else radio.focus({ preventScroll: true });
    return true;
  };

  const toggleRaw = () => {
    const isRaw = desk.classList.toggle("is-raw");
    $("raw").setAttribute("aria-pressed", String(isRaw));
    say(isRaw ? "Raw text" : "Rendered text");
  };
  const enter = (field, part) => {
    if (part) part.open = true;
    field?.focus();
  };
  const pick = (name) => {
    const radio = form.querySelector(`input[name=preferred][data-key="${name}"]`);
    if (!radio) return false;
    radio.checked = true;
    radio.focus({ preventScroll: true });
    radio.dispatchEvent(new Event("change", { bubbles: true }));
    say(radio.closest("label").textContent.trim());
    return true;
  };

  const isPair = Boolean(form.querySelector("input[name=preferred]"));
  const acts = {
    j: () => move(current + 1),
    k: () => move(current - 1),
    r: toggleRaw,
    "?": () => sheet.showModal(),
    c: () => enter(form.elements.comment),
    e: () => enter(form.elements.correction, $("correction-part")),
    s: () => enter($("reason"), $("skip-part")),
    f: () => {
      const flag = form.elements.flag;
      if (!flag) return;
      flag.click();
      say(flag.checked ? "Flagged" : "Not flagged");
    },
    u: () => { if ($("undo-form") && !$("undo-form").querySelector("button").disabled) $("undo-form").requestSubmit(); else say("Nothing to undo"); },
  };

  const isField = (element) => element instanceof HTMLElement && (element.isContentEditable || element.matches("textarea, select, input:not([type=radio], [type=checkbox], [type=button], [type=submit])"));
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.keyCode === 229 || document.querySelector("dialog[open]")) return;
    // AltGr types characters; on Windows it arrives as Ctrl and Alt together.
    const isTyping = event.getModifierState("AltGraph");
    const hasModifier = !isTyping && (event.ctrlKey || event.metaKey || event.altKey);
    if (event.key === "Enter" && !isTyping && (event.ctrlKey || event.metaKey) && !event.altKey) {
      event.preventDefault();
      if (!event.repeat) form.requestSubmit();
      return;
    }
    if (event.key === "Escape" && isField(event.target)) {
      event.target.blur();
      return;
    }
    if (hasModifier || event.repeat || isField(event.target)) return;
    const act = acts[event.key];
    const isDone = act ? (act(), true) : isPair && /^[abt0]$/.test(event.key) ? pick(event.key) : !isPair && /^[1-9ynx]$/.test(event.key) && choose(event.key);
    if (isDone) event.preventDefault();
  });
  $("raw")?.addEventListener("click", toggleRaw);
  $("keys")?.addEventListener("click", () => sheet.showModal());
  $("from-answer")?.addEventListener("click", () => {
    const field = form.elements.correction;
    field.value = document.querySelector(".answer .raw").textContent;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.focus();
  });

  // Time in which somebody was at work: an answer left open over lunch is not an hour's review.
  const seconds = form.elements.seconds;
  let active = Number(seconds?.value) || 0;
  let lastAct = Date.now();
  for (const name of ["keydown", "pointerdown", "input", "wheel", "touchstart"]) document.addEventListener(name, () => { lastAct = Date.now(); }, { passive: true });
  setInterval(() => {
    if (document.hidden || Date.now() - lastAct > IDLE_MS || !seconds) return;
    active += 1;
    seconds.value = String(active);
  }, 1000);

  let isSent = false;
  form.addEventListener("submit", async (event) => {
    if (isSent) { event.preventDefault(); return; }
    if (hasDrafts && isDirty && !isBlocked) {
      event.preventDefault(); // where the draft cannot be kept, what is typed would be lost on the way
      const by = event.submitter;
      if (await settled()) form.requestSubmit(by);
      return;
    }
    isSent = true;
    clearTimeout(timer);
    setTimeout(() => { $("submit").disabled = true; }, 0);
  });
  // A skip takes along what stands in the form, also what is not saved yet.
  $("skip-form")?.addEventListener("formdata", (event) => {
    for (const [name, value] of new FormData(form)) if (!event.formData.has(name)) event.formData.append(name, value);
  });
  $("skip-form")?.addEventListener("submit", () => {
    isSent = true;
    clearTimeout(timer);
  });
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload(); // a page out of the browser's cache has an old token
  });

  // The draft: a moment after each change; a newer one of another tab is never overwritten.
  let timer = 0;
  let isDirty = false;
  let isSaving = false;
  let isBlocked = false;
  const saved = $("saved");
  const trouble = (text) => {
    $("trouble").hidden = !text;
    $("trouble-text").textContent = text;
  };
  const post = (path, body, keepalive) => fetch(`${item}/${path}`, {
    method: "POST", body, keepalive, redirect: "error",
    headers: { "x-csrf-token": csrf, "hx-request": "true" },
  });
  // After a new login in another tab this page goes on with that session, if it is the same person's.
  const who = (page) => page.querySelector(".who summary")?.textContent;
  const renewed = async () => {
    const answer = await fetch(item, { redirect: "error" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!answer.ok || who(page) !== who(document)) return false;
    csrf = JSON.parse(page.body.getAttribute("hx-headers"))["x-csrf-token"];
    for (const field of document.querySelectorAll("input[name=csrf]")) field.value = csrf;
    document.body.setAttribute("hx-headers", page.body.getAttribute("hx-headers"));
    return true;
  };
  const send = async (path, body, keepalive) => {
    const answer = await post(path, body, keepalive);
    return answer.status === 403 && !keepalive && (await renewed()) ? post(path, body, keepalive) : answer;
  };
  const reason = (status) => ({
    401: "You are logged out. What was saved is kept: log in again in another tab, then go on here.",
    403: `Somebody else is logged in here now. What was saved is kept: log in as ${who(document)} in another tab, then go on here.`,
    404: "This item is no longer yours.",
    409: "A newer draft of this item was saved in another tab, or the review is submitted: reload to go on with it.",
    413: "The draft is too long to be kept.",
  })[status] ?? "The draft could not be saved. It will be tried again.";
  const save = async (keepalive = false) => {
    if (!hasDrafts || isSent || isBlocked || !isDirty || (isSaving && !keepalive)) return;
    isDirty = false;
    isSaving = true;
    try {
      const answer = await send("draft", new URLSearchParams(new FormData(form)), keepalive);
      if (answer.ok) {
        form.elements.revision.value = (await answer.json()).revision;
        saved.textContent = "Draft saved";
        trouble("");
      } else {
        isDirty = true;
        isBlocked = answer.status === 409;
        saved.textContent = "Draft not saved";
        trouble(reason(answer.status));
      }
    } catch {
      isDirty = true;
      saved.textContent = "Draft not saved";
      trouble(reason(0));
    } finally {
      isSaving = false;
      if (isDirty && !isBlocked) plan(10 * DRAFT_MS);
    }
  };
  const settled = async () => {
    while (isSaving) await new Promise((done) => setTimeout(done, 50));
    await save();
    if (isDirty && !isBlocked) say($("trouble-text").textContent);
    return !isDirty || isBlocked;
  };
  const plan = (wait) => { clearTimeout(timer); timer = setTimeout(save, wait); };
  if (hasDrafts) {
    const changed = () => { isDirty = true; saved.textContent = ""; plan(DRAFT_MS); };
    form.addEventListener("input", changed);
    form.addEventListener("change", changed);
    document.addEventListener("visibilitychange", () => { if (document.hidden) save(true); });
  }

  // The lease: counted down, held while somebody works, and said when it is lost.
  const lease = Number(form.dataset.lease);
  if (!item || !lease || form.dataset.left === "") return;
  let until = Date.now() + Number(form.dataset.left) * 1000;
  let isLost = false;
  let warned = Infinity;
  const lost = () => {
    isLost = true;
    $("lost").hidden = false;
    $("lease").hidden = true;
    save();
  };
  const held = async () => {
    if (isLost || Date.now() - lastAct > lease * 1000) return;
    try {
      const answer = await send("hold", new URLSearchParams());
      if (answer.ok) until = Date.now() + (await answer.json()).left_s * 1000;
      else if (answer.status === 409 || answer.status === 404) lost();
      else trouble(reason(answer.status));
    } catch { /* the countdown goes on, and the next beat tries again */ }
  };
  setInterval(held, lease * 1000 / 3);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && !isLost) held(); });
  const tick = () => {
    if (isLost) return;
    const left = Math.max(0, Math.round((until - Date.now()) / 1000));
    $("lease-left").textContent = left >= 120 ? `${Math.floor(left / 60)} min` : `${left} s`;
    $("lease").classList.toggle("is-short", left < 120);
    for (const bound of [120, 30]) {
      if (left <= bound && warned > bound) { warned = bound; say(`The answer is reserved for you for ${left} more seconds`); }
    }
    if (left > 120) warned = Infinity;
    if (left === 0) lost();
  };
  setInterval(tick, 1000);
  tick();
})();
