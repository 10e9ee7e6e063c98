// Keys of the review page. Every key is also a control of the page; without this script the page still works.
"use strict";

const CHOICES = { 1: "1", 0: "0", "-": "-1", u: "undecidable" };
const help = document.getElementById("review-help");
let current = null;

// Looked up each time: after some decisions the server sends the whole page anew.
const disputes = () => [...document.querySelectorAll("[data-dispute]")];

const isUndecided = (dispute) => dispute.querySelector("[data-undecided]");

function makeCurrent(dispute) {
  current?.classList.remove("current");
  current = dispute;
  current?.classList.add("current");
}

// The step that is judged; of a run the first one.
const stepOf = (dispute) => dispute.querySelector(".step:not(.context)");

const nameOf = (dispute) => (dispute.matches(".run") ? "The run" : dispute.querySelector("h2").textContent);

function goTo(dispute) {
  if (!dispute) return;
  makeCurrent(dispute);
  dispute.focus({ preventScroll: true });
  if (!isInSight(stepOf(dispute))) bringIntoSight(stepOf(dispute));
}

function say(text) {
  sayOver(document.getElementById("review-trouble"), text, current && stepOf(current));
}

// Whether a key may do what a control of the current dispute does: something from the step to the control is on the screen.
function mayUse(control) {
  if (!control || control.matches(":disabled")) return false;
  const name = nameOf(current);
  const isSeen = () => isOnScreen(stepOf(current), control.closest(".choices") ?? control);
  const may = mayJudge({ name, isSeen, show: () => goTo(current), say });
  if (may) say("");
  return may;
}

function move(by) {
  const all = disputes();
  goTo(all[Math.min(Math.max(all.indexOf(current) + by, 0), all.length - 1)]);
}

function formOf(dispute) {
  const form = dispute?.querySelector("[data-decision]");
  if (form) openFolds(form);
  return form;
}

function choose(value) {
  const radio = formOf(current)?.querySelector(`input[name="value"][value="${value}"]`);
  if (!mayUse(radio)) return;
  radio.checked = true;
  radio.focus({ preventScroll: true });
}

function decide() {
  if (current?.querySelector("details:not([open]) [data-decision]")) return; // decided, until a value opens it again
  const button = formOf(current)?.querySelector("button");
  if (mayUse(button)) button.form.requestSubmit(button);
}

function toggleHelp() {
  if (help.open) help.close();
  else help.showModal();
}

function press(key) {
  if (key === "?") toggleHelp();
  else if (help.open) return false;
  else if (key in CHOICES) choose(CHOICES[key]);
  else if (key === "j") move(1);
  else if (key === "k") move(-1);
  else if (key === "Enter") decide();
  else return false;
  return true;
}

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.metaKey || event.isComposing) return;
  const isEnter = event.key === "Enter";
  if (event.ctrlKey && !isEnter) return;
  const inNote = event.target.matches("textarea");
  if (inNote && !(isEnter && event.ctrlKey)) return;
  // A comment or a return has its own button.
  if (event.target.matches("form:not([data-decision]) :is(textarea, select)")) return;
  if (event.target.matches("select") && !isEnter) return;
  if (isEnter && event.target.closest("a, button, summary")) return;
  if (event.repeat && !"jk".includes(event.key)) return;
  if (press(event.key)) event.preventDefault();
});

document.addEventListener("focusin", (event) => {
  const dispute = event.target.closest("[data-dispute]");
  if (dispute) makeCurrent(dispute);
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("#review-keypad [data-key]");
  if (button) press(button.dataset.key);
});

// What is entered in a form for the same question: a version of its dispute, a list of raters to choose from.
function questionOf(form) {
  const asked = [...form.querySelectorAll("[name=version], option")].map((each) => each.value);
  return [form.getAttribute("action"), ...asked].join(" ");
}

const fieldsOf = (form) => [...form.querySelectorAll("input[type=radio], select, textarea")];

const entered = new Map(); // by question: the fields that the page is about to lose
let focused = null; // where the reader is before the swap

document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  entered.clear();
  focused = document.activeElement;
  if (detail.target.id !== "review") return;
  for (const form of detail.target.querySelectorAll("form")) entered.set(questionOf(form), fieldsOf(form));
});

// The whole page came anew: what was entered in its other forms stays, unless their question is another one by now.
function putBack(page) {
  for (const form of page.querySelectorAll("form")) {
    const before = entered.get(questionOf(form));
    if (!before) continue;
    for (const [index, field] of fieldsOf(form).entries()) {
      if (field.value !== before[index].value || field.checked !== before[index].checked) openFolds(field);
      field.value = before[index].value;
      field.checked = before[index].checked;
      if (before[index] === focused) {
        field.focus({ preventScroll: true });
        if (field.matches("textarea")) field.setSelectionRange(focused.selectionStart, focused.selectionEnd);
      }
    }
  }
}

const asked = new WeakMap(); // request -> where its form stands, what was in it, how often the reader had pressed something
const contentOf = (form) => fieldsOf(form).map((field) => `${field.checked} ${field.value}`).join("\n");

// One form at a time: the answer may bring the whole page anew, and nobody would hear what comes for a part that is gone.
let underWay = null; // the request
const waiting = []; // by question: the forms that were sent meanwhile

document.addEventListener("htmx:beforeRequest", (event) => {
  const { xhr, elt } = event.detail;
  if (!elt.matches("form")) return;
  if (underWay) {
    event.preventDefault();
    if (!waiting.includes(questionOf(elt))) waiting.push(questionOf(elt));
    return say("This is sent as soon as the server has answered what was sent before.");
  }
  underWay = xhr;
  const [from, within] = [elt.closest("[data-dispute]")?.id, elt.closest("[id]").id];
  asked.set(xhr, { nPresses, from, within, sent: contentOf(elt) });
});

document.addEventListener("htmx:afterRequest", ({ detail: { xhr } }) => {
  if (xhr === underWay) underWay = null;
});

function sendNext() {
  if (underWay || !waiting.length) return;
  const next = waiting.shift();
  const form = [...document.querySelectorAll("#review form")].find((one) => questionOf(one) === next);
  if (form) form.requestSubmit();
  else say("What you sent last was not stored, because it is about something that has changed meanwhile. Look at it again.");
}

// Whether the reader has gone on since they sent a form, and is somewhere else than the answer.
function hasGoneOn({ xhr }) {
  const place = document.activeElement;
  const { nPresses: before, from } = asked.get(xhr);
  return nPresses !== before && place !== document.body && place.id !== from;
}

const WRONG = "[aria-invalid], [data-invalid]";

document.addEventListener("htmx:afterSwap", ({ target, detail }) => {
  if (target.id !== "review") return;
  const [form, wrong] = [detail.requestConfig.elt, target.querySelector(WRONG)];
  // What was sent is stored; whoever has written on since keeps what they wrote.
  if (!wrong && contentOf(form) === asked.get(detail.xhr).sent) entered.delete(questionOf(form));
  putBack(target); // before another key is typed
  if (!wrong) return;
  for (const one of target.querySelectorAll("form")) if (questionOf(one) === questionOf(form)) openFolds(one); // was refused
});

// After a decision: to what is wrong in the form, or on to the next dispute. After another form: back to where it stands.
document.addEventListener("htmx:afterSettle", (event) => {
  const swapped = event.target;
  if (!(swapped instanceof Element) || !swapped.matches("[data-next]")) return;
  showKeypad();
  say("");
  const isElsewhere = hasGoneOn(event.detail);
  const before = current?.id;
  // On a page sent anew nothing is current before something has the focus: no key decides what nobody chose.
  if (swapped.id === "review") makeCurrent(isElsewhere ? document.activeElement.closest("[data-dispute]") : null);
  const wrong = swapped.dataset.next ? null : swapped.querySelector(WRONG);
  const place = wrong ?? document.getElementById(swapped.dataset.next || asked.get(event.detail.xhr).within);
  const dispute = place?.closest("[data-dispute]") ?? null; // a step of a run lies within it
  if (isElsewhere) {
    document.activeElement.scrollIntoView({ block: "nearest", behavior: "instant" });
    if (wrong)
      say(dispute ? `${nameOf(dispute)} is not decided yet: its form says why.` : wrong.textContent);
  } else if (dispute && swapped.dataset.next) goTo(dispute);
  else if (place) {
    makeCurrent(dispute ?? (wrong || swapped.dataset.next ? null : document.getElementById(before)));
    place.focus({ preventScroll: !wrong });
  }
});

// Once what came is in its place, its forms can be sent.
document.addEventListener("htmx:afterSettle", sendNext);

for (const name of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
  document.addEventListener(name, ({ detail: { xhr } }) => {
    waiting.length = 0;
    if (xhr.status === 401) return; // session.js says so
    const isOutdated = xhr.status >= 400 && xhr.status < 500;
    say(
      isOutdated
        ? "Nothing was stored: what this was about is not there any more, or not yours to change. Load the page anew."
        : "Nothing was stored, because the server did not take it. What you entered is still here: try again.",
    );
  });
}

function showKeypad() {
  document.getElementById("review-keypad").hidden = false;
}

showKeypad();
const place = location.hash && document.getElementById(location.hash.slice(1));
makeCurrent(place?.closest?.("[data-dispute]") ?? disputes().find(isUndecided) ?? disputes()[0] ?? null);
