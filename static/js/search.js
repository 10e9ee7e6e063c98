// Finds text in the trajectory; Enter goes from one place to the next. Texts that are too long for the page are searched
// by the server, and fetched when the reader comes to them.
"use strict";

class Search {
  static MOST = 1000;
  static GAP =
    ". The texts that are too long for the page could not be searched: there is no connection, or you are signed out. " +
    "Search again when that is mended.";

  // url: where the server says which texts that are not in the page hold the words; leave(turn): the reader is done.
  constructor(input, status, turns, { url, leave }) {
    Object.assign(this, { input, status, turns, url, found: [], at: -1, gap: "" });
    input.addEventListener("input", () => this.find());
    input.addEventListener("keydown", async (event) => {
      if (event.key === "Escape") {
        this.#highlight([]);
        leave(this.found[this.at]?.turn);
      }
      if (event.key !== "Enter") return;
      event.preventDefault();
      if (this.searched !== this.#wanted) await this.find();
      await this.go(event.shiftKey ? -1 : 1);
    });
  }

  get #wanted() {
    return this.input.value.trim().toLowerCase();
  }

  async find() {
    const wanted = this.#wanted;
    const elsewhere = await this.#elsewhere(wanted);
    if (wanted !== this.#wanted) return; // typed on meanwhile
    this.searched = wanted;
    this.at = -1;
    this.gap = elsewhere ? "" : Search.GAP;
    this.found = wanted
      ? this.turns.flatMap((turn) => this.#inTurn(turn, wanted, elsewhere ?? new Set())).slice(0, Search.MOST)
      : [];
    this.#highlight(this.found);
    const n = this.found.length;
    this.status.textContent = wanted ? `${n === Search.MOST ? "More than " : ""}${n} place${n === 1 ? "" : "s"}${this.gap}` : "";
  }

  async go(by) {
    if (!this.found.length) return;
    this.at = (this.at + by + this.found.length) % this.found.length;
    const place = this.found[this.at];
    if (place.details) {
      // Not in the page yet: fetch it, and put its places where it stood.
      await loadDeferred(place.details);
      const inside = this.#inText(place.turn, place.details.querySelector(":scope > .text"), this.searched);
      this.found.splice(this.at, 1, ...inside);
      if (!inside.length) return this.go(by > 0 ? 0 : -1);
      if (by < 0) this.at += inside.length - 1;
    }
    this.#show(this.found[this.at]);
    this.status.textContent = `place ${this.at + 1} of ${this.found.length}${this.gap}`;
  }

  // Every place in one turn, in the order of the page.
  #inTurn(turn, wanted, elsewhere) {
    return [...turn.querySelectorAll(".text:not(.fold-preview), .call > .name")].flatMap((text) => {
      const details = text.closest("details[data-deferred]");
      if (details) return elsewhere.has(details.dataset.deferred) ? [{ turn, details }] : [];
      return this.#inText(turn, text, wanted);
    });
  }

  #inText(turn, element, wanted) {
    const places = [];
    const pattern = new RegExp(wanted.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&"), "giu");
    const nodes = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    while (nodes.nextNode() && places.length < Search.MOST)
      for (const match of nodes.currentNode.data.matchAll(pattern)) {
        const range = new Range();
        range.setStart(nodes.currentNode, match.index);
        range.setEnd(nodes.currentNode, match.index + match[0].length);
        places.push({ turn, range });
      }
    return places;
  }

  // The addresses of the texts that are not in the page and hold the words; null where nobody knows.
  async #elsewhere(wanted) {
    if (!wanted || !this.turns.some((turn) => turn.querySelector("details[data-deferred]"))) return new Set();
    await new Promise((resolve) => setTimeout(resolve, 150)); // whoever types on asks for something else
    if (wanted !== this.#wanted) return new Set();
    try {
      const about = { redirect: "manual", signal: AbortSignal.timeout(15000) };
      const response = await fetch(`${this.url}?${new URLSearchParams({ q: wanted })}`, about);
      return response.ok ? new Set((await response.json()).texts) : null;
    } catch {
      return null;
    }
  }

  #show({ range }) {
    openFolds(range.startContainer.parentElement);
    range.startContainer.parentElement.scrollIntoView({ block: "nearest", behavior: "instant" });
    const { top } = range.getBoundingClientRect();
    window.scrollBy({ top: top - window.innerHeight / 3, behavior: "instant" });
    this.#highlight(this.found, range);
  }

  #highlight(places, current) {
    if (!CSS.highlights) return; // an older browser: it scrolls there all the same
    CSS.highlights.set("found", new Highlight(...places.filter((place) => place.range).map((place) => place.range)));
    CSS.highlights.set("found-here", current ? new Highlight(current) : new Highlight());
  }
}
