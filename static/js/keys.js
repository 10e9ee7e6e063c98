// The keys of the labelling page: which press is meant for the page, and the number after g.
"use strict";

// actions: key -> what it does; isSubmitting(): whether the page is about to go on; leaveField(): back to the step;
// goToStep(target): shows a step; signal: aborted when the page goes on to another trajectory.
const listenToKeys = (actions, { isSubmitting, leaveField, goToStep, signal }) => {
  const help = document.getElementById("help");
  let wantedNumber = null; // digits after g
  let numberTimer = 0;

  const goToNumber = () => {
    const target = String(Number(wantedNumber) - 1);
    wantedNumber = null;
    goToStep(target);
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (isSubmitting()) return event.preventDefault(); // what is typed now was not meant for the next trajectory
    const element = event.target;
    if (element.matches("input:not([type=radio], [type=checkbox]), textarea, select")) {
      if (event.key === "Escape") leaveField();
      return;
    }
    if (help.open && event.key !== "?") return;
    if (event.key === "Enter" && element.matches("button, a, summary")) return; // Enter presses what has the focus
    if (wantedNumber !== null) {
      clearTimeout(numberTimer);
      if (/^\d$/.test(event.key)) {
        wantedNumber += event.key;
        numberTimer = setTimeout(goToNumber, 700);
      } else if (wantedNumber) goToNumber();
      else wantedNumber = null;
      event.preventDefault();
      return;
    }
    if (event.key === "g") {
      wantedNumber = "";
      event.preventDefault();
      return;
    }
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    if (event.repeat && !"jk".includes(event.key)) return; // a key held down would judge steps that nobody has read
    action();
  }, { signal });
};
