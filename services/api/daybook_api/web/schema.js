// @ts-check
/**
 * What a JSON Schema asks for, as far as a form can ask for it. Anything else is a value that is written as JSON: the
 * server knows the whole of JSON Schema, and has the last word.
 */

/** @import {Schema} from "./shapes.js" */

/** @typedef {"string" | "number" | "integer" | "boolean" | "enum" | "const" | "array" | "object" | "json"} Kind */
/** One value that is asked for. `options` are those of an enum, `items` and `fields` those of an array and an object.
 * @typedef {{kind: Kind, nullable: boolean, schema: Schema, options: unknown[], items: Wanted | null,
 *   fields: {name: string, required: boolean, wanted: Wanted}[]}} Wanted */

const DEEPEST = 6;
const SCALARS = new Set(["string", "number", "integer", "boolean", "enum"]);
const TYPES = new Set(["string", "number", "integer", "boolean", "array", "object"]);

/** @param {Schema} schema @param {Schema} [root] where `$ref` leads into @param {string[]} [within] the references that
 * were followed to get here, one `""` a level @returns {Wanted} */
export function understand(schema, root = schema, within = []) {
  const { schema: plain, nullable, followed } = simplify(schema, root);
  const deeper = [...within, "", ...followed];
  /** @param {Kind} kind @param {Partial<Wanted>} [more] @returns {Wanted} */
  const wanted = (kind, more) => ({ kind, nullable, schema: plain, options: [], items: null, fields: [], ...more });
  // A shape that holds itself would make a form without an end.
  if (within.filter((each) => each === "").length > DEEPEST || followed.some((each) => within.includes(each))) return wanted("json");
  if (plain.anyOf || plain.oneOf || plain.allOf || plain.not || plain.if || plain.$ref) return wanted("json");
  if ("const" in plain) return wanted("const");
  if (Array.isArray(plain.enum)) return wanted("enum", { options: plain.enum });
  const type = plain.type ?? (plain.properties ? "object" : "");
  if (!TYPES.has(type)) return wanted("json");
  if (type === "array") {
    const items = plain.items && !plain.prefixItems ? understand(plain.items, root, deeper) : null;
    return items && SCALARS.has(items.kind) && !items.nullable ? wanted("array", { items }) : wanted("json");
  }
  if (type === "object") {
    if (!plain.properties || plain.patternProperties || isOpen(plain)) return wanted("json");
    const required = new Set(plain.required ?? []);
    const fields = Object.entries(plain.properties).map(([name, each]) => ({
      name, required: required.has(name), wanted: understand(each === true ? {} : each, root, deeper),
    }));
    // What must be there comes first; the rest is in the order of the schema.
    return wanted("object", { fields: [...fields.filter((each) => each.required), ...fields.filter((each) => !each.required)] });
  }
  return wanted(type);
}

/** Whether an object is a dictionary: it says what its other members look like, and has none of its own.
 * @param {Schema} schema */
function isOpen(schema) {
  return typeof schema.additionalProperties === "object" && Object.keys(schema.properties ?? {}).length === 0;
}

/** Follow references, and take "or null" apart from the rest. What stands beside a reference (a description, a default)
 * stays. @param {Schema} schema @param {Schema} root @returns {{schema: Schema, nullable: boolean, followed: string[]}} */
function simplify(schema, root) {
  /** @type {string[]} */
  const followed = [];
  let nullable = false;
  let plain = schema;
  for (let steps = 0; steps < 20; steps += 1) {
    const { $ref, allOf, anyOf, oneOf, ...rest } = plain;
    const choices = anyOf ?? oneOf;
    if ($ref) {
      const target = pointedAt(root, $ref);
      if (!target || followed.includes($ref)) break;
      followed.push($ref);
      plain = { ...target, ...rest };
    } else if (allOf?.length === 1 && !choices) plain = { ...allOf[0], ...rest };
    else if (choices && !allOf) {
      const others = choices.filter((/** @type {Schema} */ each) => each.type !== "null");
      nullable ||= others.length < choices.length;
      if (others.length !== 1) break;
      plain = { ...others[0], ...rest };
    } else if (Array.isArray(plain.type)) {
      const types = plain.type.filter((/** @type {string} */ each) => each !== "null");
      nullable ||= types.length < plain.type.length;
      if (types.length !== 1) break;
      plain = { ...plain, type: types[0] };
    } else if (Array.isArray(plain.enum) && plain.enum.includes(null)) {
      nullable = true;
      plain = { ...plain, enum: plain.enum.filter((/** @type {unknown} */ each) => each !== null) };
    } else break;
  }
  return { schema: plain, nullable, followed };
}

/** @param {Schema} root @param {string} reference @returns {Schema | null} */
function pointedAt(root, reference) {
  if (!reference.startsWith("#/")) return null;
  /** @type {any} */
  let found = root;
  for (const part of reference.slice(2).split("/")) found = found?.[decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~")];
  return found ?? null;
}

/** A member's name as a part of a JSON pointer. @param {string | number} name */
export function pointerPart(name) {
  return String(name).replaceAll("~", "~0").replaceAll("/", "~1");
}
