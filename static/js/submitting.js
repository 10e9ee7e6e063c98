// Submitting: what the page shows goes to the server, which makes the judgement final and says what is next, or says why not.
"use strict";

// isReady(): whether the page has nothing to say against it; shown(): the labels and the outcome that it shows;
// hear(answer): what the server says of a page that is outdated; goOn(answer): shows what is next; goToStep(target): shows
// what a refusal is about; say(message, isRefusal).
const submittingOf = ({ form, isReady, shown, hear, goOn, goToStep, say }) => {
  // Whether the last label also submits: this person's choice, in this browser.
  const atOnce = document.getElementById("at-once");
  atOnce.checked = localStorage.getItem("stepmark:at-once") === "1";
  atOnce.addEventListener("change", () => localStorage.setItem("stepmark:at-once", atOnce.checked ? "1" : "0"));
  atOnce.closest("label").hidden = false;

  let submitting = false;

  const submit = async () => {
    if (submitting) return;
    submitting = true;
    if (await isReady()) await send();
    submitting = false;
  };

  const send = async () => {
    const body = new FormData();
    body.set("confirmed", form.elements.confirmed.value);
    body.set("labels", JSON.stringify(shown()));
    const before = nPresses; // whoever has gone on meanwhile stays where they are
    let response;
    try {
      response = await fetch(form.action, {
        method: "POST",
        body,
        headers: { Accept: "application/json", ...Account.headers },
        redirect: "manual",
        signal: AbortSignal.timeout(30000),
      });
    } catch {
      return say("Not submitted: there is no connection. Your labels are kept; submit again when it is back.", true);
    }
    if (response.status === 404) return say(`Not submitted: ${Outbox.GONE}. Your labels are kept.`, true);
    const answer = await response.json().catch(() => null);
    if (response.ok && answer?.next) return goOn(answer);
    if (answer) hear(answer);
    const error = answer?.error;
    const [place = ""] = Object.keys(error?.fields ?? {}); // "step 3", "step 3: category" or "outcome"
    if (nPresses === before) goToStep(/^step (\d+)/.exec(place)?.[1] ?? place);
    if (error?.code === "annotation.warnings") {
      form.elements.confirmed.value = "1";
      return say(`${error.message} Press Enter again if you mean it.`, true);
    }
    const isOutdated = error?.code === "annotation.changed" || error?.code === "annotation.final";
    if (isOutdated) return say(`${error.message} Reload the page to see what is stored.`, true);
    say(error?.message || "Not submitted: the server does not answer, or you are signed out. Your labels are kept.", true);
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });

  return { submit, isSubmitting: () => submitting, isAtOnce: () => atOnce.checked };
};
