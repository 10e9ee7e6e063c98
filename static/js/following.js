// The trajectory after this one: claimed and loaded while its annotator finishes this one, and shown without a page load.
"use strict";

class Following {
  static LIMIT = 15000; // ms; a page that takes longer is given up, and loaded as any other
  static shown = location.pathname; // the trajectory that this document shows now

  constructor({ url }) {
    Object.assign(this, { url, loading: null });
  }

  // Once is enough; what does not arrive is loaded when it is wanted.
  load() {
    this.loading ??= this.#page(this.url, { method: "POST", headers: Account.headers });
  }

  // Shows the labelling page at the address, with a notice; without one it is another page, which is opened as usual.
  async open(address, said) {
    if (!said) return location.assign(address);
    const url = new URL(address, location.href).pathname;
    const loaded = await this.loading;
    const page = this.#addressOf(loaded) === url ? loaded : await this.#page(url);
    if (this.#addressOf(page) !== url) return location.assign(address);
    document.title = page.title;
    const notice = document.createElement("p");
    notice.className = "notice good";
    notice.setAttribute("role", "status");
    notice.textContent = said;
    page.getElementById("main").prepend(notice);
    document.body.replaceChildren(...page.body.children);
    history.pushState(null, "", url);
    Following.shown = url;
    window.scrollTo({ top: 0, behavior: "instant" });
    startLabelling();
  }

  #addressOf(page) {
    return page?.getElementById("work")?.dataset.url;
  }

  async #page(url, options = {}) {
    try {
      const response = await fetch(url, {
        ...options,
        headers: { ...options.headers, Accept: "text/html" },
        signal: AbortSignal.timeout(Following.LIMIT),
      });
      return response.ok && response.status !== 204
        ? new DOMParser().parseFromString(await response.text(), "text/html")
        : null;
    } catch {
      return null;
    }
  }
}

// Back and forward between trajectories that were shown without a page load; not a link within the page.
window.addEventListener("popstate", () => {
  if (location.pathname !== Following.shown) location.reload();
});
