// An open page outlives its session: its reader is signed out, or signs out and in again in another tab.
"use strict";

// The token that the server takes now. The one that the page came with is outdated after the next sign-in.
const csrfToken = () => document.cookie.match(/(?:^|; )csrftoken=([^;]*)/)?.[1] ?? "";

// Whose page this is; none before somebody has signed in. The server takes nothing from it for another account.
const { account } = document.body.dataset;

document.addEventListener(
  "submit",
  ({ target }) => {
    const { csrfmiddlewaretoken: field, page_account: whose } = target.elements;
    if (!field) return;
    field.value = csrfToken();
    if (whose || !account) return;
    field.after(Object.assign(document.createElement("input"), { type: "hidden", name: "page_account", value: account }));
  },
  true,
);

// htmx also sends forms that nobody submits.
document.addEventListener("htmx:configRequest", ({ detail: { parameters, headers } }) => {
  if (parameters.csrfmiddlewaretoken) parameters.csrfmiddlewaretoken = csrfToken();
  if (account) headers["X-Account"] = account;
});

document.addEventListener("htmx:afterRequest", ({ detail: { xhr } }) => {
  const notice = document.getElementById("signed-out");
  notice.hidden = xhr.status !== 401;
  if (!notice.hidden) notice.querySelector("span").textContent = xhr.responseText;
});
