// What the labelling page says above its progress until the next trajectory: of labels elsewhere, of a newer guideline, of
// something else that is asked for.
"use strict";

const sayInDock = (kind, role, ...parts) => {
  const notice = document.createElement("p");
  notice.className = `notice ${kind}`;
  notice.setAttribute("role", role);
  notice.append(...parts);
  document.querySelector(".dock").prepend(notice);
  return notice;
};

const linkTo = (address, text) => {
  const link = document.createElement("a");
  link.href = address;
  link.textContent = text;
  return link;
};

// Labels of another trajectory are not stored; lost: the targets of those that have been given up.
const sayNotStored = (url, message, lost) => {
  const address = url.replace(/labels\/$/, "");
  if (lost) {
    const places = lost.map(Outbox.place).join(", ");
    sayInDock("bad", "alert", "Labels of ", linkTo(address, "another trajectory"), ` were not stored (${places}): ${message}`);
  } else {
    const said = ` has labels that are not stored. ${message} Open it to put this right.`;
    sayInDock("bad", "alert", linkTo(address, "Another trajectory"), said);
  }
};

// A guideline may change while its page is open: what was read counts.
const sayNewerGuideline = (shown, newest) => {
  if (!(newest > shown) || document.getElementById("newer-guideline")) return;
  const under = shown ? `as given under version ${shown}, which this page shows` : "as given without one";
  const said = `The guideline has changed: there is a version ${newest}. Your labels are stored ${under}. `;
  const link = linkTo(location.pathname, "Reload the page");
  sayInDock("warn", "status", said, link, " to read the new one; your labels stay.").id = "newer-guideline";
};

// The label scheme may change, too, and which steps are asked for; by then the page shows something else than is wanted.
const sayAsksOtherwise = () => {
  if (document.getElementById("asks-otherwise")) return;
  const link = linkTo(location.pathname, "Reload the page");
  const said = "The project has changed what it asks for since this page was opened. ";
  sayInDock("warn", "alert", said, link, " to see it; your labels and notes stay.").id = "asks-otherwise";
};
