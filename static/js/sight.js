// What of the trajectory is on the screen: the bar on top and, on a small screen, the dock at the bottom cover some of it.
"use strict";

const freeOfWindow = () => {
  const dock = document.querySelector(".dock");
  const covered = getComputedStyle(dock).position === "fixed" ? dock.offsetHeight : 0;
  return { top: document.querySelector(".topbar").offsetHeight, bottom: window.innerHeight - covered };
};

// Whether a card begins on the screen, with enough of it to be judged or to be read on.
const isInSight = (card) => {
  if (!card) return false;
  const box = card.getBoundingClientRect();
  const { top, bottom } = freeOfWindow();
  return box.top >= top && Math.min(box.bottom, box.top + 160) <= bottom;
};

// Shows a card, and what the step answers to as well when both fit on the screen.
const bringIntoSight = (card) => {
  const { top, bottom } = freeOfWindow();
  const room = bottom - top - 16;
  document.documentElement.style.scrollPadding = `${top + 8}px 0 ${window.innerHeight - bottom + 8}px`;
  const turn = card.closest(".turn") || card;
  const target = turn.offsetHeight <= room ? turn : card;
  target.scrollIntoView({ block: target.offsetHeight > room ? "start" : "center", behavior: "instant" });
};
