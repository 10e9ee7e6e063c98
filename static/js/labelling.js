// The labelling page: keys, and an outbox that keeps every label until the server has stored it.
//
// The radio buttons are the state. A change goes into the outbox (localStorage, so that it survives a closed tab or a
// crash) and from there to the server, one request at a time and newest value last; it leaves the outbox when the server
// has acknowledged exactly that value.
"use strict";

(() => {
  const PREFIX = "stepmark:outbox:";
  const work = document.getElementById("work");
  const form = document.getElementById("label-form");
  const refusal = document.getElementById("refusal");
  const status = document.getElementById("save-status");
  const csrf = form.elements.csrfmiddlewaretoken.value;
  const key = PREFIX + work.dataset.outbox;

  // --- outbox -------------------------------------------------------------------------------------------------------

  const load = (name) => JSON.parse(localStorage.getItem(name) || "null") || { pending: {} };

  const store = (name, outbox) => {
    if (Object.keys(outbox.pending).length) localStorage.setItem(name, JSON.stringify(outbox));
    else localStorage.removeItem(name);
  };

  const bodyOf = (pending) => {
    const body = { labels: [], cleared: [] };
    for (const [target, value] of Object.entries(pending)) {
      if (target === "outcome") body.outcome = value;
      else if (value === null) body.cleared.push(Number(target));
      else body.labels.push({ step: Number(target), value });
    }
    return JSON.stringify(body);
  };

  // Answers "stored", "later" (try again: no connection, server down, signed out) or a refusal {message}.
  const send = async (url, pending) => {
    let response;
    try {
      response = await fetch(url, {
        method: "PUT",
        body: bodyOf(pending),
        headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": csrf },
        redirect: "manual",
        signal: AbortSignal.timeout(15000),
      });
    } catch {
      return { state: "later", why: "no connection" };
    }
    if (response.ok) return { state: "stored" };
    if (response.type === "opaqueredirect" || response.status === 403)
      return { state: "later", why: "you are signed out: sign in again in another tab" };
    if (response.status >= 500 || response.status === 429) return { state: "later", why: "the server does not answer" };
    const answer = await response.json().catch(() => null);
    return { state: "refused", message: answer?.error?.message || `The server refused the labels (${response.status}).` };
  };

  let sending = null;
  let retryAfter = 500;
  let timer = 0;

  const flush = () => (sending ??= empty().finally(() => (sending = null)));

  const empty = async () => {
    clearTimeout(timer);
    for (;;) {
      const { pending } = load(key);
      if (!Object.keys(pending).length) break;
      const answer = await send(work.dataset.labelsUrl, pending);
      if (answer.state === "later") {
        showStatus(answer.why);
        timer = setTimeout(flush, retryAfter);
        retryAfter = Math.min(retryAfter * 2, 10000);
        return;
      }
      if (answer.state === "refused") {
        showStatus("not saved");
        refuse(answer.message);
        return;
      }
      retryAfter = 500;
      const outbox = load(key); // labels given meanwhile stay
      for (const [target, value] of Object.entries(pending))
        if (outbox.pending[target] === value) delete outbox.pending[target];
      store(key, outbox);
      showStatus();
    }
    showStatus();
  };

  // Labels of other trajectories that a closed tab left behind go out too; what the server refuses is kept as a draft
  // there, so nothing is gained by asking again.
  const flushOthers = async () => {
    const mine = PREFIX + work.dataset.outbox.split(":")[0] + ":";
    for (const name of Object.keys(localStorage).filter((name) => name.startsWith(mine) && name !== key)) {
      const outbox = load(name);
      if (outbox.url && (await send(outbox.url, outbox.pending)).state !== "later") localStorage.removeItem(name);
    }
  };

  const showStatus = (why) => {
    if (!status) return;
    const n = Object.keys(load(key).pending).length;
    status.className = "save-status " + (n ? "pending" : "saved");
    const text = n ? `${n} unsaved${why ? ` (${why})` : ""}` : "All saved";
    if (status.textContent !== text) status.textContent = text;
  };

  const refuse = (message) => {
    refusal.textContent = message;
    refusal.hidden = false;
    refusal.scrollIntoView({ block: "center", behavior: "instant" });
  };

  // --- labels -------------------------------------------------------------------------------------------------------

  const cards = [...document.querySelectorAll(".step[data-wanted]")];
  const railOf = new Map([...document.querySelectorAll(".rail a")].map((link) => [link.dataset.target, link]));
  const undo = [];
  let current = -1;

  const valueOf = (card) => (card.dataset.value === "" ? null : Number(card.dataset.value));

  const paint = (card, value) => {
    card.dataset.value = value ?? "";
    railOf.get(card.dataset.target).dataset.value = value ?? "";
    for (const radio of card.querySelectorAll(".choices input")) radio.checked = value !== null && Number(radio.value) === value;
    const n = cards.filter((each) => valueOf(each) !== null).length;
    document.getElementById("n-labelled").textContent = n;
  };

  const label = (card, value) => {
    const before = valueOf(card);
    if (before === value) return;
    undo.push([card, before]);
    change(card, value);
  };

  const change = (card, value) => {
    paint(card, value);
    const outbox = load(key);
    outbox.url = work.dataset.labelsUrl;
    outbox.pending[card.dataset.target] = value;
    store(key, outbox);
    refusal.hidden = true;
    showStatus();
    flush();
  };

  const goTo = (index, { scrolls = true } = {}) => {
    if (!cards[index]) return;
    if (cards[current]) {
      cards[current].classList.remove("current");
      railOf.get(cards[current].dataset.target).removeAttribute("aria-current");
    }
    current = index;
    const card = cards[index];
    card.classList.add("current");
    railOf.get(card.dataset.target).setAttribute("aria-current", "true");
    if (!scrolls) return;
    card.focus({ preventScroll: true });
    // Show what the step answers to as well, when both fit on the screen.
    const turn = card.closest(".turn") || card;
    const room = window.innerHeight - 120;
    const target = turn.offsetHeight <= room ? turn : card;
    target.scrollIntoView({ block: target.offsetHeight > room ? "start" : "center", behavior: "instant" });
  };

  const nextUnlabelled = () => {
    const order = [...cards.keys()].map((i) => (current + 1 + i) % cards.length);
    return order.find((index) => valueOf(cards[index]) === null);
  };

  const labelCurrent = (value) => {
    const card = cards[Math.max(current, 0)];
    if (!card) return;
    label(card, value);
    goTo(Math.min(Math.max(current, 0) + 1, cards.length - 1));
  };

  let submitting = false;

  const submit = async () => {
    if (submitting) return;
    submitting = true;
    await trySubmit();
    submitting = false;
  };

  const trySubmit = async () => {
    const missing = cards.findIndex((card) => valueOf(card) === null);
    if (missing >= 0) {
      const names = cards.filter((card) => valueOf(card) === null).map((card) => card.querySelector(".n").textContent);
      const shown = names.slice(0, 8).join(", ") + (names.length > 8 ? ` and ${names.length - 8} more` : "");
      goTo(missing);
      refusal.textContent = `Not labelled yet: ${shown}.`;
      refusal.hidden = false;
      return;
    }
    let response;
    try {
      await flush();
      response = await fetch(form.action, {
        method: "POST",
        body: new FormData(form),
        headers: { Accept: "application/json" },
        redirect: "manual",
        signal: AbortSignal.timeout(30000),
      });
    } catch {
      return refuse("Not submitted: there is no connection. Your labels are kept; submit again when it is back.");
    }
    const answer = await response.json().catch(() => null);
    if (response.ok && answer?.next) {
      localStorage.removeItem(key); // the form held every label, and the server has made them final
      window.location.assign(answer.next);
      return;
    }
    refuse(answer?.error?.message || "Not submitted: the server does not answer, or you are signed out. Your labels are kept.");
  };

  // --- keys ---------------------------------------------------------------------------------------------------------

  const help = document.getElementById("help");
  const actions = {
    1: () => labelCurrent(1),
    0: () => labelCurrent(0),
    "-": () => labelCurrent(-1),
    j: () => goTo(Math.min(current + 1, cards.length - 1)),
    k: () => goTo(Math.max(current - 1, 0)),
    n: () => goTo(nextUnlabelled() ?? current),
    u: () => {
      const last = undo.pop();
      if (!last) return;
      change(...last);
      goTo(cards.indexOf(last[0]));
    },
    "?": () => (help.open ? help.close() : help.showModal()),
    Enter: submit,
  };

  if ("final" in work.dataset) return;

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const element = event.target;
    if (element.matches("input:not([type=radio]), textarea, select")) return;
    if (help.open && event.key !== "?") return;
    if (event.key === "Enter" && element.matches("button, a, summary")) return; // Enter presses what has the focus
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  for (const button of document.querySelectorAll("[data-key]"))
    button.addEventListener("click", () => actions[button.dataset.key]());
  document.querySelector(".keypad").hidden = false;
  for (const [index, card] of cards.entries()) {
    card.addEventListener("change", (event) => label(card, Number(event.target.value)));
    card.addEventListener("pointerdown", () => goTo(index, { scrolls: false }));
  }
  for (const [target, link] of railOf)
    link.addEventListener("click", (event) => {
      const index = cards.findIndex((card) => card.dataset.target === target);
      if (index < 0) return; // a step that is only context: the link jumps by itself
      event.preventDefault();
      goTo(index);
    });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  window.addEventListener("online", flush);

  // What the outbox kept is newer than what the server knew when it rendered the page.
  const { pending } = load(key);
  for (const card of cards) paint(card, card.dataset.target in pending ? pending[card.dataset.target] : valueOf(card));
  current = -1;
  const first = nextUnlabelled() ?? 0;
  goTo(first, { scrolls: first > 0 });
  if (first === 0) cards[0]?.focus({ preventScroll: true });
  showStatus();
  flush();
  flushOthers();
})();
