// @ts-check
/**
 * A form for a JSON Schema, which at any time can be written as JSON instead, and back. It checks lightly: what is
 * really wrong the server says, with a pointer to the spot, and this shows it there.
 */

import { fill, h, show } from "./dom.js";
import { Misfit, field } from "./fields.js";
import { pretty } from "./format.js";
import { understand } from "./schema.js";

/** @import {Field} from "./fields.js" */
/** @import {Schema, Spot} from "./shapes.js" */

export class SchemaForm {
  #wanted;
  /** @type {Field | null} the form, or null while the value is written as JSON */
  #field = null;
  #place = h("div");
  #text = h("textarea", { class: "code", rows: 12, spellcheck: "false", "aria-label": "Input as JSON", "data-test": "input-json" });
  #switch = h("input", { type: "checkbox", "data-test": "as-json", onchange: () => this.#turn() });
  #note = h("p", { class: "field-error", role: "alert", hidden: true });
  element = h("div", { class: "schema-form" },
    h("div", { class: "switch" }, h("label", null, this.#switch, " as JSON")), this.#place, this.#note);

  /** @param {Schema} schema @param {unknown} [value] what it holds to begin with; the schema's defaults otherwise */
  constructor(schema, value) {
    this.#wanted = understand(schema);
    try {
      this.#showForm(value);
    } catch (error) {
      if (!(error instanceof Misfit)) throw error;
      this.#showText(value ?? {});
    }
  }

  /** What the form says, with what it can tell to be wrong. @returns {{value: unknown, errors: Spot[]}} */
  read() {
    show(this.#note, false);
    /** @type {Spot[]} */
    const errors = [];
    if (this.#field) {
      const value = this.#field.read((pointer, message) => errors.push({ pointer, message }));
      return { value: value === undefined ? {} : value, errors };
    }
    try {
      return { value: JSON.parse(this.#text.value.trim() || "{}"), errors };
    } catch (error) {
      return { value: undefined, errors: [{ pointer: "", message: `This is not JSON: ${/** @type {Error} */ (error).message}` }] };
    }
  }

  /** Show what is wrong where it is wrong; what has no place there comes back. @param {Spot[]} errors @returns {Spot[]} */
  mark(errors) {
    const field = this.#field;
    if (field) return errors.filter(({ pointer, message }) => !field.mark(pointer, message));
    this.#complain(errors.map(({ pointer, message }) => `${pointer} ${message}`.trim()).join("\n"));
    return [];
  }

  #turn() {
    if (this.#switch.checked) {
      this.#showText(this.read().value ?? {});
      return;
    }
    const { value, errors } = this.read();
    if (errors.length) {
      this.#switch.checked = true;
      this.mark(errors);
      return;
    }
    try {
      this.#showForm(value);
    } catch (error) {
      if (!(error instanceof Misfit)) throw error;
      this.#showText(value);
      this.#complain(`The form cannot show this: ${error.pointer} ${error.message}.`);
    }
  }

  /** @param {unknown} value */
  #showForm(value) {
    this.#field = field("", "", this.#wanted, true, value);
    const hasFields = this.#wanted.kind !== "object" || this.#wanted.fields.length > 0;
    fill(this.#place, hasFields ? this.#field.element : h("p", { class: "quiet" }, "It needs no input."));
    this.#switch.checked = false;
  }

  /** @param {unknown} value */
  #showText(value) {
    this.#field = null;
    if (value !== undefined) this.#text.value = pretty(value);
    fill(this.#place, this.#text);
    this.#switch.checked = true;
  }

  /** @param {string} message */
  #complain(message) {
    this.#note.textContent = message;
    show(this.#note, message !== "");
  }
}
