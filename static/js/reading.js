// Reading a trajectory: folded texts that are fetched when they are opened, searching, and noticing what was read.
"use strict";

// A browser lays out one text of megabytes for half a minute, above all if it has no spaces. In pieces it lays out only
// those on the screen (content-visibility in the stylesheet). Pieces end at a line's end where there is one.
const PIECE = 20000;

const piecesOf = (text) => {
  const pieces = [];
  for (let start = 0; start < text.length; ) {
    let end = start + PIECE;
    const lineEnd = text.lastIndexOf("\n", end);
    if (end < text.length && lineEnd > start + PIECE / 2) end = lineEnd + 1;
    const piece = document.createElement("div");
    piece.className = "piece";
    piece.append(...markedNodes(text.slice(start, end)));
    pieces.push(piece);
    start = end;
  }
  return pieces;
};

// Unfolds a text that was too long for the page.
const loadDeferred = async (details) => {
  const url = details.dataset.deferred;
  if (!url) return;
  delete details.dataset.deferred;
  const place = details.querySelector(":scope > .text");
  place.textContent = "Loading …";
  try {
    const response = await fetch(url, { redirect: "manual" }); // signed out, it would load the sign-in page
    if (!response.ok) throw new Error(response.status);
    place.replaceChildren(...piecesOf(await response.text()));
  } catch {
    details.dataset.deferred = url;
    place.textContent = "It could not be loaded. Fold it and open it again.";
  }
};

// Unfolds everything or, if nothing is folded, folds everything.
const foldAll = () => {
  const all = [...document.querySelectorAll("#main details")];
  const opens = all.some((details) => !details.open);
  for (const details of all) details.open = opens;
};

// Notices how long each step was current while somebody was there, whether it was on the screen, and whether a folded
// text of its turn was opened. `stored` has the milliseconds that the server knows already.
class Reading {
  static IDLE_AFTER = 30000;

  // signal: aborted when the page goes on to another trajectory.
  constructor(cards, stored, signal) {
    this.of = new Map(cards.map((card) => [card.dataset.target, { active_ms: stored[card.dataset.target] || 0 }]));
    this.current = null;
    this.lastSign = Date.now();
    for (const sign of ["keydown", "pointermove", "pointerdown", "wheel", "scroll"])
      document.addEventListener(sign, () => (this.lastSign = Date.now()), { passive: true, signal });
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries)
        if (entry.isIntersecting) {
          this.of.get(entry.target.dataset.target).is_seen = true;
          seen.unobserve(entry.target);
        }
    });
    for (const card of cards) seen.observe(card);
    document.addEventListener(
      "toggle",
      (event) => {
        const card = event.target.open && !event.target.closest(".hint") && event.target.closest(".turn")?.querySelector(".step");
        if (card && this.of.has(card.dataset.target)) this.of.get(card.dataset.target).has_opened = true;
      },
      { capture: true, signal },
    );
    let before = Date.now();
    const clock = setInterval(() => {
      const now = Date.now();
      const isThere = document.visibilityState === "visible" && now - this.lastSign < Reading.IDLE_AFTER;
      // A computer that slept must not count its sleep.
      if (isThere && this.current) this.of.get(this.current).active_ms += Math.min(now - before, 1000);
      before = now;
    }, 500);
    signal.addEventListener("abort", () => {
      clearInterval(clock);
      seen.disconnect();
    });
  }

  evidence(target) {
    return this.of.get(target) || {};
  }
}

document.addEventListener("toggle", (event) => event.target.open && loadDeferred(event.target), true);
