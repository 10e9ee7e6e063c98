// The labelling page: labels by key, and how errors carry on. `state` holds what the page shows.
"use strict";

// Starts the page that is in the document; following.js calls it again when it has put the next one there.
const startLabelling = () => {
  const work = document.getElementById("work");
  if ("final" in work.dataset) return;
  const form = document.getElementById("label-form");
  const life = new AbortController(); // ends with this trajectory: so do its listeners
  const refusal = document.getElementById("refusal");
  const status = document.getElementById("save-status");
  const guideline = Number(form.elements.guideline.value);
  const data = JSON.parse(document.getElementById("page-data").textContent);
  const carries = data.mode === "carry_errors";

  const cards = [...document.querySelectorAll(".step[data-wanted]")];
  const railOf = new Map([...document.querySelectorAll(".rail a")].map((link) => [link.dataset.target, link]));
  const state = new Map(); // target -> {value, root, exit_reason, local_value, extras}
  const independent = new Set(); // targets marked as standing on their own while they have no value
  const undo = [];
  let current = -1;

  const say = (text, isRefusal = false) => {
    refusal.classList.toggle("bad", isRefusal);
    sayOver(refusal, text, cards[current]);
  };

  // Says what stands in the fields of a card but cannot be stored; answers whether there is such a thing.
  const sayWrong = (card) => {
    const wrong = About.wrong(card);
    if (wrong) say(`${card.querySelector(".n").textContent}, ${wrong.message}`, true);
    return Boolean(wrong);
  };

  const reading = new Reading(
    cards,
    Object.fromEntries(Object.entries(data.labels).map(([target, label]) => [target, label.active_ms])),
    life.signal,
  );
  let asksOtherwise = false; // something else is asked for by now than this page shows

  const hear = (said) => {
    sayNewerGuideline(guideline, said.guideline);
    if (!said.asked || said.asked === data.asked) return;
    asksOtherwise = true;
    sayAsksOtherwise();
  };

  const outbox = new Outbox({
    url: work.dataset.labelsUrl,
    who: work.dataset.outbox,
    guideline,
    nSaves: data.n_saves,
    heard: hear,
    signal: life.signal,
    evidence: (target) => reading.evidence(target),
    refuse: (message) => say(message, true),
    lose: sayNotStored,
    show: (n, why) => {
      status.className = `save-status ${n ? "pending" : "saved"}`;
      const text = n ? `${n} unsaved${why ? ` (${why})` : ""}` : "All saved";
      if (status.textContent !== text) status.textContent = text;
    },
  });

  const following = new Following({ url: work.dataset.aheadUrl });
  const drafts = new Drafts(work.dataset.outbox);
  const noteOf = (card) => about.read(card, { extras: {} }).extras; // what a card says without a label
  const about = new About({
    template: document.getElementById("about"),
    required: data.required,
    changed: (card, isTyping) => {
      const label = state.get(card.dataset.target);
      if (!label) drafts.put(card.dataset.target, noteOf(card));
      if (isTyping) return label && change(cards.indexOf(card), about.read(card, label), { sends: false });
      if (!label) return sayWrong(card) || say("The note is stored with the step's label: label the step as well.");
      change(cards.indexOf(card), about.read(card, label));
      sayWrong(card);
    },
  });

  const { valueOf, isOutcome, firstError, isWanted, isIndependent, rootAfter, activeRoot, chip } = rulesOf({
    cards,
    state,
    independent,
    mode: data.mode,
  });

  // --- painting -----------------------------------------------------------------------------------------------------

  const shown = []; // what each card shows, so that a key repaints only what it changes

  const paint = (index, root) => {
    const card = cards[index];
    const value = valueOf(card);
    const shows = JSON.stringify([state.get(card.dataset.target), root, isWanted(index), isIndependent(card.dataset.target)]);
    if (shown[index] === shows) return;
    shown[index] = shows;
    card.dataset.value = value ?? "";
    const link = railOf.get(card.dataset.target);
    link.dataset.value = value ?? "";
    const said = value === null ? "" : `: ${["−1", "0", "+1"][value + 1]}`;
    link.setAttribute("aria-label", card.querySelector(".n").textContent + said);
    for (const radio of card.querySelectorAll(".choices input")) radio.checked = value !== null && Number(radio.value) === value;
    card.classList.toggle("unasked", !isWanted(index));
    link.classList.toggle("context", !isWanted(index));
    card.classList.toggle("preset", value === null && root !== null && !isIndependent(card.dataset.target));
    const text = chip(card, root);
    let chain = card.querySelector(".chain");
    if (text && !chain) {
      chain = document.createElement("p");
      chain.className = "chain";
      card.querySelector("header").after(chain);
    }
    if (chain) {
      chain.textContent = text;
      chain.hidden = !text;
    }
    if (!isOutcome(card)) about.paint(card, state.get(card.dataset.target));
  };

  const paintAll = () => {
    let root = null;
    for (const index of cards.keys()) {
      paint(index, isOutcome(cards[index]) ? null : root);
      if (carries) root = rootAfter(index, root);
    }
    const asked = cards.filter((_, index) => isWanted(index));
    document.getElementById("n-labelled").textContent = asked.filter((card) => valueOf(card) !== null).length;
    document.getElementById("n-wanted").textContent = asked.length;
    hints.paint();
    if (cards.filter((_, index) => isMissing(index)).length <= 1) following.load();
  };

  // --- changing labels ----------------------------------------------------------------------------------------------

  const change = (index, label, { sends = true } = {}) => {
    const target = cards[index].dataset.target;
    if (label) state.set(target, label);
    else state.delete(target);
    drafts.put(target, label ? {} : noteOf(cards[index]));
    form.elements.confirmed.value = "";
    say("");
    paintAll();
    outbox.put(target, label, { sends });
  };

  // What a value means here: in the carrying mode a -1 after an error follows from it, unless said otherwise.
  const labelled = (index, value, { isNew = false, exit } = {}) => {
    const target = cards[index].dataset.target;
    if (isOutcome(cards[index])) return { value };
    const exit_reason = exit ?? (isIndependent(target) ? "independent" : "");
    const stands = isNew || exit_reason === "independent";
    const next = {
      value,
      hint_value: hints.suggested(cards[index]), // what is in sight now; the next label may change it
      root: value === -1 && !stands ? activeRoot(index) : null,
      exit_reason,
      local_value: null,
    };
    // What the card says, also a note that was written before the label; not what the project no longer asks for.
    return { ...next, extras: about.read(cards[index], { ...next, extras: state.get(target)?.extras ?? {} }).extras };
  };

  const label = (index, value, options) => {
    const card = cards[index];
    if (!isWanted(index)) {
      delete shown[index]; // a click has chosen a value that is none
      paintAll();
      return say("This project stops at the first error: what comes after it is not judged.");
    }
    const next = labelled(index, value, options);
    const before = state.get(card.dataset.target) ?? null;
    if (About.isSame(before, next)) return;
    const completes = before === null;
    undo.push([index, before]);
    change(index, next);
    if (!completes || !isComplete()) return;
    if (hints.isWaiting) hints.reveal();
    else if (isAtOnce()) submit();
  };

  const goTo = (index, { scrolls = true } = {}) => {
    if (!cards[index]) return;
    if (cards[current]) {
      cards[current].classList.remove("current");
      railOf.get(cards[current].dataset.target).removeAttribute("aria-current");
    }
    current = index;
    const card = cards[index];
    reading.current = card.dataset.target;
    card.classList.add("current");
    const link = railOf.get(card.dataset.target);
    link.setAttribute("aria-current", "true");
    link.parentElement.scrollLeft = link.offsetLeft - link.parentElement.offsetLeft - link.parentElement.clientWidth / 2;
    if (!scrolls) return;
    card.focus({ preventScroll: true });
    bringIntoSight(card);
  };

  // Shows a step; one that is only context never becomes the current one.
  const goToStep = (target) => {
    const card = document.getElementById(`step-${target}`);
    if (!card) return;
    if (cards.includes(card)) return goTo(cards.indexOf(card));
    card.focus({ preventScroll: true });
    bringIntoSight(card);
  };

  const hints = new Hints({ cards, valueOf, railOf, outbox, refuse: (message) => say(message, true), goTo, model: data.suggestions });

  const isMissing = (index) => isWanted(index) && valueOf(cards[index]) === null;
  const isComplete = () => !cards.some((_, index) => isMissing(index));
  const nextUnlabelled = () => [...cards.keys()].map((i) => (current + 1 + i) % cards.length).find(isMissing);
  const after = (index) => {
    for (let i = index + 1; i < cards.length; i++) if (isWanted(i)) return i;
    return index;
  };

  // The index of the current card for a key that judges it, or null.
  const toJudge = () => {
    const index = Math.max(current, 0);
    const name = cards[index].querySelector(".n").textContent;
    return mayJudge({ name, isSeen: () => isBeforeReader(cards[index]), show: () => goTo(index), say }) ? index : null;
  };

  const labelCurrent = (value, options) => {
    const index = toJudge();
    if (index === null) return;
    label(index, value, options);
    goTo(after(index));
  };

  // --- submitting ---------------------------------------------------------------------------------------------------

  // Whether everything asked for is labelled and stored; else says what is missing.
  const isReady = async () => {
    const missing = asksOtherwise ? [] : [...cards.keys()].filter(isMissing); // the server knows what is asked for
    if (missing.length) {
      const names = missing.map((index) => cards[index].querySelector(".n").textContent);
      const shown = names.slice(0, 8).join(", ") + (names.length > 8 ? ` and ${names.length - 8} more` : "");
      goTo(missing[0]);
      say(`Not labelled yet: ${shown}.`);
      return false;
    }
    const wrong = cards.findIndex((card) => About.wrong(card));
    if (wrong >= 0) {
      goTo(wrong);
      sayWrong(cards[wrong]);
      return false;
    }
    if (hints.isWaiting) {
      await hints.reveal(); // the next Enter submits
      return false;
    }
    if (await outbox.isStored()) return true;
    const n = Object.keys(outbox.pending()).length;
    say(`Not submitted, because ${n} label${n > 1 ? "s are" : " is"} not stored: ${outbox.problem}`, true);
    return false;
  };

  // What this page shows, for the server to compare: another tab may have changed the labels. With all that was noticed
  // of the reading since they were given.
  const shownNow = () => {
    const asked = cards.filter((card, index) => isWanted(index) && !isOutcome(card) && state.has(card.dataset.target));
    const labels = asked.map(({ dataset: { target } }) => {
      const { hint_value, ...label } = state.get(target);
      return { step: Number(target), ...label, ...reading.evidence(target) };
    });
    return { labels, ...(state.has("outcome") && { outcome: state.get("outcome").value }) };
  };

  const goOn = async ({ next, said }) => {
    const isSlow = setTimeout(say, 1000, "Submitted. The next trajectory is being loaded.");
    await following.open(next, said);
    clearTimeout(isSlow);
    life.abort();
  };

  const { submit, isSubmitting, isAtOnce } = submittingOf({ form, isReady, shown: shownNow, hear, goOn, goToStep, say });

  // --- keys ---------------------------------------------------------------------------------------------------------

  const help = document.getElementById("help");
  const searchBox = document.querySelector(".search");
  const search = new Search(
    document.getElementById("search"),
    document.getElementById("search-status"),
    [...document.querySelectorAll(".turn")],
    {
      url: work.dataset.searchUrl,
      leave: (turn) => {
        const index = cards.findIndex((card) => turn?.contains(card));
        goTo(index < 0 ? Math.max(current, 0) : index, { scrolls: !turn });
        cards[current]?.focus({ preventScroll: true });
      },
    },
  );
  const actions = {
    1: () => labelCurrent(1),
    0: () => labelCurrent(0),
    "-": () => labelCurrent(-1),
    j: () => goTo(Math.min(current + 1, cards.length - 1)),
    k: () => goTo(Math.max(current - 1, 0)),
    n: () => {
      const isPassedBy = cards[current] && isMissing(current) && !isInSight(cards[current]);
      goTo(isPassedBy ? current : nextUnlabelled() ?? current);
    },
    e: () => goTo(firstError() < 0 ? current : firstError()),
    u: () => {
      const last = undo.pop();
      if (!last) return;
      const [index, before] = last;
      // What was written beside the value since then stays.
      change(index, before && !isOutcome(cards[index]) ? { ...before, extras: about.read(cards[index], before).extras } : before);
      goTo(index);
    },
    c: () => {
      const card = cards[Math.max(current, 0)];
      if (isOutcome(card) || !about.takesNotes) return;
      about.paint(card, state.get(card.dataset.target), true);
      card.querySelector("[data-extra=rationale]")?.focus();
    },
    d: () => goTo(hints.next(current) ?? current),
    y: () => {
      const value = hints.suggested(cards[Math.max(current, 0)]);
      if (value !== undefined) labelCurrent(value);
    },
    x: foldAll,
    "/": () => search.input.focus(),
    "?": () => (help.open ? help.close() : help.showModal()),
    Enter: submit,
  };
  if (carries) {
    actions.f = () => {
      const before = valueOf(cards[Math.max(current, 0)]);
      labelCurrent(before === 0 ? 0 : 1, { exit: "corrected" });
    };
    actions.i = () => {
      const index = toJudge();
      if (index === null) return;
      const { target } = cards[index].dataset;
      const value = valueOf(cards[index]);
      const exit = isIndependent(target) ? "" : "independent";
      if (value !== null) return label(index, value, { exit });
      independent[exit ? "add" : "delete"](target);
      paintAll();
    };
    actions._ = () => labelCurrent(-1, { isNew: true, exit: "" });
  }

  listenToKeys(actions, {
    isSubmitting,
    leaveField: () => cards[Math.max(current, 0)]?.focus({ preventScroll: true }),
    goToStep,
    signal: life.signal,
  });
  for (const button of document.querySelectorAll("[data-key]"))
    button.addEventListener("click", () => actions[button.dataset.key]());
  for (const part of [...document.querySelectorAll(".keypad"), searchBox]) part.hidden = false;
  for (const [index, card] of cards.entries()) {
    card.querySelector(".choices").addEventListener("change", (event) => label(index, Number(event.target.value)));
    // Whatever has the focus, by a click or by Tab, lies in the current step, if it lies in one.
    card.addEventListener("focusin", () => index === current || goTo(index, { scrolls: false }));
  }
  for (const [target, link] of railOf)
    link.addEventListener("click", (event) => {
      event.preventDefault();
      goToStep(target);
    });
  document.getElementById("reveal")?.addEventListener("submit", async (event) => {
    event.preventDefault();
    await outbox.flush(); // the server must know every label before it shows the reference
    event.target.submit();
  });

  // What the outbox kept is newer than what the server knew when it rendered the page.
  for (const [target, { active_ms, ...label }] of Object.entries(data.labels)) state.set(target, label);
  const outcome = document.getElementById("step-outcome");
  if (outcome && outcome.dataset.value !== "") state.set("outcome", { value: Number(outcome.dataset.value) });
  for (const [target, label] of Object.entries(outbox.pending())) {
    if (label) state.set(target, label);
    else state.delete(target);
  }
  const [completed, lost] = [[], []]; // labels from another tab, which did not know of the note that was written here
  for (const [target, extras] of Object.entries(drafts.all())) {
    const card = cards.find((one) => one.dataset.target === target);
    const label = state.get(target);
    if (card) about.paint(card, { value: null, ...label, extras: { ...extras, ...label?.extras } }, true);
    const [name, note] = [card?.querySelector(".n").textContent, extras.rationale];
    if (note && label?.extras.rationale && note !== label.extras.rationale) lost.push(`${name}: “${note}”`);
    const whole = card && label && { ...about.read(card, label).extras, ...label.extras };
    if (whole && !About.isSame(whole, label.extras)) {
      change(cards.indexOf(card), { ...label, extras: whole });
      completed.push(name);
    } else if (!card || label) drafts.put(target, {});
  }
  paintAll();
  const first = nextUnlabelled() ?? 0;
  history.scrollRestoration = "manual"; // after a reload the browser would scroll away from the current step
  goTo(first, { scrolls: !isInSight(cards[first]) });
  cards[first]?.focus({ preventScroll: true });
  const told = [];
  if (completed.length) told.push(`Notes written before their label are stored with it now: ${completed.join(", ")}.`);
  if (lost.length) told.push(`Another tab stored a note of its own; what you had written here is not stored: ${lost.join("; ")}.`);
  if (told.length) say(told.join(" "));
  outbox.flush();
  outbox.flushOthers();
  if (hints.isWaiting && isComplete()) hints.reveal();
};

startLabelling();
