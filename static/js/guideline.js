// A guideline that changes while its page is open: what was read counts, and the page says that there is more to read.
"use strict";

const sayNewerGuideline = (shown, newest) => {
  if (!(newest > shown) || document.getElementById("newer-guideline")) return;
  const notice = document.createElement("p");
  notice.id = "newer-guideline";
  notice.className = "notice warn";
  notice.setAttribute("role", "status");
  const link = document.createElement("a");
  link.href = location.pathname;
  link.textContent = "Reload the page";
  const under = shown ? `as given under version ${shown}, which this page shows` : "as given without one";
  notice.append(
    `The guideline has changed: there is a version ${newest}. Your labels are stored ${under}. `,
    link,
    " to read the new one; your labels stay.",
  );
  document.querySelector(".dock").prepend(notice);
};
