// What of the trajectory is on the screen: the bar on top, what the page says below it and, on a small screen, the dock at
// the bottom cover some of it.
"use strict";

const freeOfWindow = () => {
  const dock = document.querySelector(".dock");
  const covered = getComputedStyle(dock).position === "fixed" ? dock.offsetHeight : 0;
  const said = document.getElementById("refusal");
  const bar = document.querySelector(".topbar").offsetHeight;
  return { top: Math.max(bar, said.getBoundingClientRect().bottom), bottom: window.innerHeight - covered };
};

// Whether a card begins on the screen, with enough of it to be judged or to be read on.
const isInSight = (card) => {
  if (!card) return false;
  const box = card.getBoundingClientRect();
  const { top, bottom } = freeOfWindow();
  return box.top >= top && Math.min(box.bottom, box.top + 160) <= bottom;
};

// Whether a card is before the reader: some of it is on the screen or, past its end, only what came of it.
const isBeforeReader = (card) => {
  const { top, bottom } = freeOfWindow();
  const steps = [...document.querySelectorAll(".step")];
  const box = card.getBoundingClientRect();
  const next = steps[steps.indexOf(card) + 1]?.getBoundingClientRect();
  return box.top <= bottom - 40 && (box.bottom >= top + 40 || !(next?.top < bottom));
};

// Shows a card, and what the step answers to as well when both fit on the screen.
const bringIntoSight = (card) => {
  const { top, bottom } = freeOfWindow();
  const room = bottom - top - 16;
  document.documentElement.style.scrollPadding = `${top + 8}px 0 ${window.innerHeight - bottom + 8}px`;
  const turn = card.closest(".turn") || card;
  const target = turn.offsetHeight <= room ? turn : card;
  target.scrollIntoView({ block: target.offsetHeight > room ? "start" : "center", behavior: "instant" });
  Object.assign(kept, { card, until: performance.now() + 1000 });
};

// The card that was shown last, for a moment or until the reader moves: long texts get their height only when they are
// laid out near the screen, and would push it away.
const kept = { card: null, until: 0 };
for (const sign of ["wheel", "touchmove", "pointerdown", "keydown"])
  document.addEventListener(sign, () => (kept.card = null), { passive: true, capture: true });
new ResizeObserver(() => {
  const { card, until } = kept;
  if (card?.isConnected && performance.now() < until && !isInSight(card)) bringIntoSight(card);
}).observe(document.documentElement);
