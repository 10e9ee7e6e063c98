// An open page outlives its session: its reader is signed out, or signs out and in again in another tab.
"use strict";

// The token that the server takes now. The one that the page came with is outdated after the next sign-in.
const csrfToken = () => document.cookie.match(/(?:^|; )csrftoken=([^;]*)/)?.[1] ?? "";

document.addEventListener(
  "submit",
  ({ target }) => {
    const field = target.elements.csrfmiddlewaretoken;
    if (field) field.value = csrfToken();
  },
  true,
);

// htmx also sends forms that nobody submits.
document.addEventListener("htmx:configRequest", ({ detail: { parameters } }) => {
  if (parameters.csrfmiddlewaretoken) parameters.csrfmiddlewaretoken = csrfToken();
});

document.addEventListener("htmx:afterRequest", (event) => {
  document.getElementById("signed-out").hidden = event.detail.xhr.status !== 401;
});
