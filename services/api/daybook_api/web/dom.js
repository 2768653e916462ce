// @ts-check
/**
 * Making elements. Text is only ever set as text: nothing in here, or anywhere else in the page, makes HTML of data.
 */

/** @typedef {Node | string | number | null | undefined | false} Child */

const SVG = "http://www.w3.org/2000/svg";

/** An element. In `properties`, `on…` functions listen, true and false set or leave out an attribute, the rest are
 * attributes. @template {keyof HTMLElementTagNameMap} K @param {K} tag @param {Record<string, any> | null} [properties]
 * @param {...(Child | Child[])} children @returns {HTMLElementTagNameMap[K]} */
export function h(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

/** Put these children in the place of those it has. @param {Element} parent @param {...(Child | Child[])} children */
export function fill(parent, ...children) {
  parent.replaceChildren();
  append(parent, children);
}

/** A drawing of one path, for the eye alone. @param {string} path @param {string} name */
export function drawing(path, name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", `drawing ${name}`);
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

/** Show or hide. @param {HTMLElement} element @param {boolean} shown */
export function show(element, shown) {
  element.hidden = !shown;
}

/** Set text, and touch nothing where it is that already: a screen reader would say it again.
 * @param {Element} element @param {string} text */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A function that asks for one run of `draw` before the next picture, however often it is called. A hidden tab has no
 * pictures, so there it runs now and then. @param {() => void} draw */
export function batched(draw) {
  let asked = false;
  const run = () => {
    asked = false;
    draw();
  };
  return () => {
    if (asked) return;
    asked = true;
    if (document.hidden) setTimeout(run, 500);
    else requestAnimationFrame(run);
  };
}

/** A button. @param {string} text @param {() => unknown} act @param {Record<string, any>} [properties] */
export function button(text, act, properties = {}) {
  return h("button", { type: "button", onclick: act, ...properties }, text);
}

/** A button that copies a text. @param {string} text @param {string} what */
export function copyButton(text, what) {
  const element = button("Copy", async () => {
    try {
      await navigator.clipboard.writeText(text);
      element.textContent = "Copied";
    } catch {
      element.textContent = "Select it"; // without https a browser lets nobody write to its clipboard
    }
    setTimeout(() => (element.textContent = "Copy"), 1500);
  }, { class: "small", "aria-label": `Copy ${what}` });
  return element;
}

/** Ask, in a dialogue, before something is done: true when it is wanted.
 * @param {string} question @param {string} yes @param {string} no @returns {Promise<boolean>} */
export function ask(question, yes, no) {
  /** @type {HTMLDialogElement} */
  const dialog = h("dialog", { class: "ask" },
    h("p", null, question),
    h("div", { class: "buttons" },
      button(yes, () => dialog.close("yes"), { class: "danger", "data-test": "confirm" }),
      button(no, () => dialog.close(""), { autofocus: true })));
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
  });
}

/** What went wrong, in its own words. @param {unknown} error */
export function problemBox(error) {
  const { message, hint } = /** @type {{message?: string, hint?: string}} */ (error);
  return h("div", { class: "problem", role: "alert", "data-test": "problem" }, h("p", null, message || String(error)), hint && h("p", null, hint));
}

/** @param {Element} parent @param {(Child | Child[])[]} children */
function append(parent, children) {
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== false) parent.append(typeof child === "number" ? String(child) : child);
  }
}
