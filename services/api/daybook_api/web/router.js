// @ts-check
/**
 * Which page is shown: the address is all the state there is, so that reloading, going back and sending a link to
 * somebody work.
 */

/** @typedef {{params: Record<string, string>, query: URLSearchParams}} Place */
/** A page. `update` takes another query of the same page; without it, or when it says false, the page is made anew. `close` lets go of what it holds.
 * @typedef {{title: string, element: HTMLElement, update?: (query: URLSearchParams) => boolean | void, close?: () => void}} View */
/** @typedef {{pattern: RegExp, view: (place: Place) => View}} Route */

export class Router {
  #routes;
  #outlet;
  /** @type {View | null} */
  #view = null;
  #path = "";

  /** @param {Route[]} routes the last one fits everything @param {HTMLElement} outlet */
  constructor(routes, outlet) {
    this.#routes = routes;
    this.#outlet = outlet;
  }

  /** Show the page of the current address, and follow links from now on. */
  start() {
    addEventListener("popstate", () => this.#show(false));
    document.addEventListener("click", (event) => {
      const link = event.target instanceof Element ? event.target.closest("a") : null;
      if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
      const url = new URL(link.href, location.href);
      const ours = url.origin === location.origin && /^\/ui($|\/)/.test(url.pathname) && !url.pathname.startsWith("/ui/static/");
      if (!ours || url.hash || link.target || link.hasAttribute("download")) return;
      event.preventDefault();
      this.go(url.pathname + url.search);
    });
    this.#show(false);
  }

  /** @param {string} address @param {{replace?: boolean}} [how] `replace` leaves no step to go back to */
  go(address, { replace = false } = {}) {
    if (replace) history.replaceState(null, "", address);
    else history.pushState(null, "", address);
    this.#show(!replace);
  }

  /** Make the page anew. */
  reload() {
    this.#path = "";
    this.#show(false);
  }

  /** @param {boolean} moved whether somebody went to another page, rather than back or to the same in another way */
  #show(moved) {
    const path = location.pathname.replace(/\/+$/, "") || "/ui";
    const query = new URLSearchParams(location.search);
    if (path === this.#path && this.#view?.update && this.#view.update(query) !== false) return;
    this.#view?.close?.();
    this.#path = path;
    for (const { pattern, view } of this.#routes) {
      const found = pattern.exec(path);
      if (!found) continue;
      this.#view = view({ params: found.groups ?? {}, query });
      break;
    }
    if (!this.#view) return;
    document.title = `${this.#view.title} · Daybook`;
    this.#outlet.replaceChildren(this.#view.element);
    for (const link of document.querySelectorAll("nav a")) {
      if (link.getAttribute("href") === path) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (moved) {
      scrollTo(0, 0);
      // Whoever cannot see that the page is another one hears its heading.
      this.#view.element.querySelector("h1")?.focus({ preventScroll: true });
    }
  }
}
