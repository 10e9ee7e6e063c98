// What of the trajectory is on the screen, of the labelling page and of the review: the bar on top, what the page says below
// it and, on a small screen, the dock at the bottom cover some of it.
"use strict";

// How often the reader has pressed a key or the mouse, or turned its wheel. What the server answers moves the focus only if they
// have done nothing since it was asked: they have gone on meanwhile, and may be writing.
let nPresses = 0;
for (const sign of ["keydown", "pointerdown", "wheel"])
  document.addEventListener(sign, () => nPresses++, { passive: true, capture: true });

// How high the part of the page is that lies over the rest; 0 where it stands in its place, as on a low screen.
const covers = (selector, position) => {
  const part = document.querySelector(selector);
  return part && getComputedStyle(part).position === position ? part.offsetHeight : 0;
};

const freeOfWindow = () => {
  const said = document.querySelector(".said").getBoundingClientRect();
  return { top: Math.max(covers(".topbar", "sticky"), said.bottom), bottom: window.innerHeight - covers(".dock", "fixed") };
};

// Whether a card begins on the screen, with enough of it to be judged or to be read on.
const isInSight = (card) => {
  if (!card) return false;
  const box = card.getBoundingClientRect();
  const { top, bottom } = freeOfWindow();
  const enough = Math.min(160, bottom - top - 16);
  return box.top >= top && Math.min(box.bottom, box.top + enough) <= bottom;
};

// Whether some of a card is on the screen, or of what stands from one card to another.
const isOnScreen = (card, last = card) => {
  const { top, bottom } = freeOfWindow();
  return card.getBoundingClientRect().top <= bottom - 40 && last.getBoundingClientRect().bottom >= top + 40;
};

// Whether a card is before the reader: some of it is on the screen or, past its end, only what came of it.
const isBeforeReader = (card) => {
  if (isOnScreen(card)) return true;
  const { top, bottom } = freeOfWindow();
  const steps = [...document.querySelectorAll(".step")];
  const next = steps[steps.indexOf(card) + 1]?.getBoundingClientRect();
  return card.getBoundingClientRect().bottom < top + 40 && !(next?.top < bottom);
};

// Whether a key may judge what it is about. What is not on the screen is shown instead: nobody judges what they do not see.
const mayJudge = ({ name, isSeen, show, say }) => {
  if (isSeen()) return true;
  show();
  if (!isSeen()) return true; // the window is too small to show it
  say(`${name} was not on the screen, so nothing is stored. Here it is: press the key again.`);
  return false;
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

// Says something over the page, where it stays in sight (position: sticky): what moved on a press of the mouse would not be
// clicked. card: the one that is not to be left below it.
const sayOver = (place, text, card) => {
  if (!text && place.hidden) return;
  const wasInSight = isInSight(card);
  place.textContent = text;
  place.hidden = !text;
  place.style.top = `${covers(".topbar", "sticky") + 8}px`;
  place.style.marginBottom = `${-place.offsetHeight}px`;
  if (wasInSight && !isInSight(card)) bringIntoSight(card);
};

// Opens the folds that an element lies in.
const openFolds = (element) => {
  for (let fold = element.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
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
