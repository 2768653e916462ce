// @ts-check
/**
 * One field for each kind of value that a form can ask for. A field that was left empty says nothing (`undefined`), so
 * that the default of the app holds; one that cannot hold the value it is given says so with a `Misfit`.
 */

import { button, fill, h, show } from "./dom.js";
import { pretty } from "./format.js";
import { pointerPart } from "./schema.js";

/** @import {Wanted} from "./schema.js" */

/** `read` adds to `wrong` what the field can tell by itself.
 * @typedef {{element: HTMLElement, read: (wrong: (pointer: string, message: string) => void) => unknown,
 *   mark: (pointer: string, message: string) => boolean}} Field */

/** A value that this form has no place for; `pointer` leads to it. */
export class Misfit extends Error {
  pointer = "";
}

let count = 0;

/** @param {string} label @param {string} pointer @param {Wanted} wanted @param {boolean} required @param {unknown} value
 * @returns {Field} */
export function field(label, pointer, wanted, required, value) {
  const given = value === undefined ? wanted.schema.default : value;
  try {
    if (wanted.kind === "object") return objectField(label, pointer, wanted, required, given, value !== undefined);
    if (wanted.kind === "array") return arrayField(label, pointer, wanted, required, given);
    return scalarField(label, pointer, wanted, required, given);
  } catch (error) {
    if (error instanceof Misfit) error.pointer ||= pointer;
    throw error;
  }
}

/** @param {string} label @param {string} pointer @param {Wanted} wanted @param {boolean} required @param {unknown} given
 * @returns {Field} */
function scalarField(label, pointer, wanted, required, given) {
  const id = `field-${(count += 1)}`;
  const { element: input, read } = control(wanted, required, given);
  const isCheck = input.getAttribute("type") === "checkbox";
  const note = h("p", { class: "field-error", id: `${id}-error`, hidden: true });
  const hint = h("p", { class: "hint", id: `${id}-hint` }, hintOf(wanted));
  input.id = id;
  input.setAttribute("name", pointer);
  input.setAttribute("aria-describedby", `${id}-hint ${id}-error`);
  if (required && !isCheck) input.setAttribute("aria-required", "true");
  const name = h("label", { for: id }, label || "Input", required && !isCheck && star());
  const element = h("div", { class: isCheck ? "form-field check" : "form-field" }, isCheck ? [input, name] : [name, input], hint, note);
  /** @param {string} message */
  const tell = (message) => {
    note.textContent = message;
    show(note, message !== "");
    if (message) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  };
  input.addEventListener("input", () => tell(""));
  return {
    element,
    read(wrong) {
      tell("");
      try {
        const value = read();
        if (value === undefined && required && wanted.kind !== "json") wrong(pointer, "is needed");
        return value;
      } catch (error) {
        if (!(error instanceof Misfit)) throw error;
        wrong(pointer, error.message);
        return undefined;
      }
    },
    mark(where, message) {
      if (where !== pointer && !where.startsWith(`${pointer}/`)) return false;
      tell(where === pointer ? message : `${where.slice(pointer.length)} ${message}`);
      return true;
    },
  };
}

/** The element that takes a value, and how to read it; reading throws a `Misfit` for what is no such value.
 * @param {Wanted} wanted @param {boolean} required @param {unknown} given @returns {{element: HTMLElement, read: () => unknown}} */
function control(wanted, required, given) {
  const { kind, nullable, schema } = wanted;
  const nothing = nullable && (required || (schema.default ?? null) !== null) ? null : undefined;
  const hasValue = given !== undefined && given !== null;
  switch (kind) {
    case "const": {
      const element = h("input", { type: "text", readonly: true, value: text(schema.const) });
      return { element, read: () => schema.const };
    }
    case "boolean":
      if ((required && !nullable) || (hasValue && !nullable)) {
        const element = h("input", { type: "checkbox", checked: given === true });
        return { element, read: () => element.checked };
      }
      return choice([true, false], given, nothing, ["yes", "no"]);
    case "enum":
      return choice(wanted.options, given, required && !nullable ? "first" : nothing);
    case "number":
    case "integer": {
      if (hasValue && typeof given !== "number") throw new Misfit("is not a number here");
      const step = kind === "integer" ? 1 : "any";
      const element = h("input", { type: "number", step, min: schema.minimum, max: schema.maximum, value: hasValue ? given : null });
      return { element, read: () => number(element, kind, nothing) };
    }
    case "string": {
      if (hasValue && typeof given !== "string") throw new Misfit("is not text here");
      const element = textControl(schema, hasValue ? String(given) : "");
      // Where the default is a text, taking it away says that it is to be empty; else an empty field says nothing.
      const empty = nullable ? nothing : schema.default && !required ? "" : undefined;
      return { element, read: () => (element.value === "" ? empty : element.value) };
    }
    default: {
      const element = h("textarea", { rows: 3, class: "code", spellcheck: "false" });
      element.value = given === undefined ? "" : pretty(given);
      return { element, read: () => (element.value.trim() === "" ? undefined : parsed(element.value)) };
    }
  }
}

/** @param {Record<string, any>} schema @param {string} value */
function textControl(schema, value) {
  const types = /** @type {Record<string, string>} */ ({ email: "email", uri: "url", date: "date", password: "password" });
  const isLine = schema.pattern || schema.format || (schema.maxLength ?? Infinity) <= 100;
  const shared = { minlength: schema.minLength, maxlength: schema.maxLength, placeholder: schema.examples?.[0], autocomplete: "off" };
  const element = isLine ? h("input", { type: types[schema.format] ?? "text", pattern: schema.pattern, ...shared }) : h("textarea", { rows: 1, ...shared });
  element.value = value;
  return element;
}

/** @param {HTMLInputElement} element @param {string} kind @param {null | undefined} nothing */
function number(element, kind, nothing) {
  if (element.validity.badInput) throw new Misfit("is not a number");
  if (element.value === "") return nothing;
  const value = Number(element.value);
  if (kind === "integer" && !Number.isSafeInteger(value)) throw new Misfit(Number.isInteger(value) ? "is too large for a form" : "is not a whole number");
  if (element.validity.rangeUnderflow || element.validity.rangeOverflow) throw new Misfit(element.validationMessage);
  return value;
}

/** A choice among values. @param {unknown[]} values @param {unknown} given @param {null | undefined | "first"} nothing
 * @param {string[]} [words] @returns {{element: HTMLSelectElement, read: () => unknown}} */
function choice(values, given, nothing, words = values.map(text)) {
  const known = values.map((each) => JSON.stringify(each));
  const chosen = given === undefined || given === null ? -1 : known.indexOf(JSON.stringify(given));
  if (chosen < 0 && given !== undefined && given !== null) throw new Misfit("is none of the choices");
  const none = nothing === "first" ? null : h("option", { value: "" }, nothing === null ? "none" : "not said");
  const element = h("select", null, none, words.map((each, index) => h("option", { value: index, selected: index === chosen }, each)));
  return { element, read: () => (element.value === "" ? /** @type {null | undefined} */ (nothing) : values[Number(element.value)]) };
}

/** @param {string} label @param {string} pointer @param {Wanted} wanted @param {boolean} required @param {unknown} given
 * @returns {Field} */
function arrayField(label, pointer, wanted, required, given) {
  if (given !== undefined && given !== null && !Array.isArray(given)) throw new Misfit("is not a list here");
  const items = /** @type {Wanted} */ (wanted.items);
  /** @type {Field[]} */
  let rows = [];
  const list = h("div", { class: "list" });
  const note = h("p", { class: "field-error", hidden: true });
  /** @param {unknown} value */
  const add = (value) => {
    const index = rows.length;
    const row = field(`${label} ${index + 1}`, `${pointer}/${index}`, items, false, value);
    rows.push(row);
    const remove = button("Remove", () => rebuild(index), { class: "small", "aria-label": `Remove ${label} ${index + 1}` });
    list.append(h("div", { class: "list-row" }, row.element, remove));
    return row;
  };
  /** @param {number} without */
  const rebuild = (without) => {
    const values = rows.map((each) => each.read(() => {})).filter((_, index) => index !== without);
    rows = [];
    fill(list);
    values.forEach(add);
  };
  (Array.isArray(given) ? given : []).forEach(add);
  const focusNew = () => /** @type {HTMLElement | null} */ (add(undefined).element.querySelector("input, select, textarea"))?.focus();
  const more = button("Add", focusNew, { class: "small", "aria-label": `Add to ${label}` });
  const element = h("fieldset", { class: "form-field", name: pointer },
    h("legend", null, label, required && star()), h("p", { class: "hint" }, wanted.schema.description), list, more, note);
  return {
    element,
    read(wrong) {
      show(note, false);
      // A row that was left empty was not meant, but for a list of text, where it may be.
      const empty = items.kind === "string" ? "" : undefined;
      const values = rows.map((each) => each.read(wrong) ?? empty).filter((each) => each !== undefined);
      if (values.length > 0 || (required && !wanted.nullable) || wanted.schema.default?.length) return values;
      return required && wanted.nullable ? null : undefined;
    },
    mark(where, message) {
      if (where !== pointer && !where.startsWith(`${pointer}/`)) return false;
      if (rows.some((each) => each.mark(where, message))) return true;
      note.textContent = message;
      show(note, true);
      return true;
    },
  };
}

/** @param {string} label @param {string} pointer @param {Wanted} wanted @param {boolean} required @param {unknown} given
 * @param {boolean} isSaid whether `given` was said, rather than being the default @returns {Field} */
function objectField(label, pointer, wanted, required, given, isSaid) {
  if (given !== undefined && given !== null && (typeof given !== "object" || Array.isArray(given))) throw new Misfit("is not an object here");
  const values = /** @type {Record<string, unknown>} */ (given ?? {});
  const fields = wanted.fields.map(({ name, required: needed, wanted: each }) => ({
    name, field: field(name, `${pointer}/${pointerPart(name)}`, each, needed, values[name]),
  }));
  // What the schema does not name has no field, and is kept as it was.
  const others = Object.fromEntries(Object.entries(values).filter(([name]) => !wanted.fields.some((each) => each.name === name)));
  const inner = h("div", { class: "fields" }, fields.map((each) => each.field.element));
  const isWhole = pointer === "";
  const optional = !isWhole && (!required || wanted.nullable);
  const there = h("input", { type: "checkbox", checked: given !== undefined && given !== null, onchange: () => show(inner, there.checked) });
  show(inner, !optional || there.checked);
  const title = optional ? h("legend", null, h("label", null, there, ` ${label}`)) : h("legend", null, label);
  const hint = wanted.schema.description && h("p", { class: "hint" }, wanted.schema.description);
  const note = h("p", { class: "field-error", hidden: true });
  return {
    element: isWhole ? h("div", null, inner, note) : h("fieldset", { class: "form-field nested", name: pointer }, title, hint, inner, note),
    read(wrong) {
      show(note, false);
      if (optional && !there.checked) return required || (wanted.nullable && isSaid) ? null : undefined;
      const read = fields.map((each) => [each.name, each.field.read(wrong)]).filter(([, value]) => value !== undefined);
      return { ...others, ...Object.fromEntries(read) };
    },
    mark(where, message) {
      if (where !== pointer && !where.startsWith(`${pointer}/`)) return false;
      if (fields.some((each) => each.field.mark(where, message))) return true;
      note.textContent = where === pointer ? message : `${where.slice(pointer.length)} ${message}`;
      show(note, true);
      return true;
    },
  };
}

/** @param {Wanted} wanted */
function hintOf({ kind, schema }) {
  const { description, minimum, maximum, minLength, pattern, format } = schema;
  const bounds = [minimum !== undefined && `${minimum} or more`, maximum !== undefined && `${maximum} at most`];
  const length = minLength > 1 && `at least ${minLength} characters`;
  const shape = [...bounds, length, pattern && !description && `like ${pattern}`, format, kind === "json" && "as JSON"];
  return [description, shape.filter(Boolean).join(", ")].filter(Boolean).join(" · ");
}

/** The mark of what must be filled in, for the eye; others are told by `aria-required`. */
function star() {
  return h("span", { class: "needed", "aria-hidden": "true" }, " *");
}

/** @param {string} source */
function parsed(source) {
  try {
    return JSON.parse(source);
  } catch (error) {
    throw new Misfit(`is not JSON: ${/** @type {Error} */ (error).message}`);
  }
}

/** @param {unknown} value */
function text(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}
