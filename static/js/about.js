// What belongs to a label beside its value: the fields of the template #about, in the card of each step that needs them.
"use strict";

class About {
  // required: the extras that a -1 needs; changed(card, isTyping): called when the annotator has filled in a field, and
  // between two words of a text.
  constructor({ template, required, changed }) {
    Object.assign(this, { template, required, changed });
    this.takesNotes = template.content.querySelector("[data-extra=rationale]") !== null;
    this.asksMore = template.content.querySelectorAll("[data-extra]:not([data-extra=rationale])").length > 0;
  }

  #isNeeded(label) {
    if (!label) return false;
    return (
      this.asksMore ||
      Object.keys(label.extras).length > 0 ||
      label.root != null ||
      (label.value === -1 && this.required.length > 0)
    );
  }

  // Whether a field, or what holds it, is asked for with a label.
  static #isAsked(field, label) {
    const when = field.closest("[data-when]")?.dataset.when;
    return !when || (when === "inherited" ? label?.root != null : label?.value === -1);
  }

  // Whether two labels say the same, in whatever order their fields stand.
  static isSame(one, other) {
    const sorted = (_, value) =>
      value && typeof value === "object" ? Object.fromEntries(Object.entries(value).sort()) : value;
    return JSON.stringify(one, sorted) === JSON.stringify(other, sorted);
  }

  // The field that says what cannot be stored, if there is one, and a sentence about it.
  static wrong(root) {
    const field = root.querySelector(".about input:invalid");
    const name = field?.closest("label").textContent.trim();
    return field && { field, message: `${name}: a whole number from ${field.min} to ${field.max} is needed. It is not stored.` };
  }

  // Shows what the label holds; opens: also where nothing is needed, for a note.
  paint(card, label, opens = false) {
    let about = card.querySelector(".about");
    if (!about) {
      if (!opens && !this.#isNeeded(label)) return;
      card.append(this.template.content.cloneNode(true));
      about = card.querySelector(".about");
      about.addEventListener("change", () => {
        clearTimeout(this.typing);
        this.changed(card, false);
      });
      about.addEventListener("input", ({ target: field }) => {
        clearTimeout(this.typing);
        if (field.matches("textarea")) this.typing = setTimeout(() => this.changed(card, true), 300);
      });
    }
    for (const field of about.querySelectorAll("[data-when]")) field.hidden = !About.#isAsked(field, label);
    if (!label) return;
    // What an error leaves in hidden fields comes back with it, as long as the page is open.
    for (const field of about.querySelectorAll("[data-extra], [data-name]")) {
      // Never under the annotator's hands, nor what they have still to put right.
      if (field === document.activeElement || !field.validity.valid || field.closest("[hidden]")) continue;
      const value = field.dataset.name ? label[field.dataset.name] : label.extras[field.dataset.extra];
      if (field.type === "checkbox") field.checked = value === true;
      else field.value = value ?? "";
    }
  }

  // The label with what the fields say now; a number that does not fit leaves what was said before.
  read(card, label) {
    const changed = { ...label, extras: {} };
    for (const field of card.querySelectorAll(".about :is([data-extra], [data-name])")) {
      if (!About.#isAsked(field, label)) continue;
      if (field.dataset.name) {
        changed[field.dataset.name] = field.value === "" ? null : Number(field.value);
        continue;
      }
      if (!field.validity.valid) {
        const before = label.extras[field.dataset.extra];
        if (before !== undefined) changed.extras[field.dataset.extra] = before;
        continue;
      }
      const text = field.type === "checkbox" ? (field.checked ? "true" : "") : field.value.trim();
      if (text === "") continue;
      const kind = field.dataset.type;
      changed.extras[field.dataset.extra] = kind === "boolean" ? text === "true" : kind === "number" ? Number(text) : text;
    }
    return changed;
  }
}
