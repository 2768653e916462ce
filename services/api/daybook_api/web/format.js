// @ts-check
/**
 * How times, durations, sizes and names are written. Times are told as seen from now, with the moment itself in the
 * title; those on the page are kept up to date by one clock.
 */

import { h } from "./dom.js";

const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "short" });
const ABSOLUTE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const UNITS = [["year", 31_557_600], ["month", 2_629_800], ["day", 86_400], ["hour", 3600], ["minute", 60], ["second", 1]];

/** The zone of whoever looks. */
export const HERE = Intl.DateTimeFormat().resolvedOptions().timeZone;

/** @param {string} at */
export function absolute(at) {
  return ABSOLUTE.format(new Date(at));
}

/** The time of day. @param {string} at */
export function clock(at) {
  return CLOCK.format(new Date(at));
}

/** @param {string} at */
export function relative(at) {
  const seconds = Math.round((Date.parse(at) - Date.now()) / 1000);
  if (Math.abs(seconds) < 3) return "now";
  const [unit, length] = UNITS.find(([, each]) => Math.abs(seconds) >= each) ?? ["second", 1];
  return RELATIVE.format(Math.round(seconds / length), unit);
}

/** @param {number} ms */
export function duration(ms) {
  const seconds = Math.max(ms, 0) / 1000;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`;
}

/** @param {number} count */
export function bytes(count) {
  if (count < 1024) return `${count} B`;
  const [value, unit] = count < 1024 ** 2 ? [count / 1024, "KiB"] : [count / 1024 ** 2, "MiB"];
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${unit}`;
}

/** The end of an id, where ids differ. @param {string} id */
export function short(id) {
  return `…${id.slice(-6)}`;
}

/** A reason as words: `app_error` is "app error". @param {string} reason */
export function words(reason) {
  return /^[a-z0-9_]+$/.test(reason) ? reason.replaceAll("_", " ") : reason;
}

/** @param {unknown} value */
export function pretty(value) {
  return JSON.stringify(value, null, 2);
}

/** A time as an element that stays true. @param {string} at */
export function timeElement(at) {
  return h("time", { datetime: at, title: absolute(at), "data-ticks": "ago" }, relative(at));
}

/** How long something took; where it has no end yet, how long it takes so far. @param {string} from @param {string | null} to */
export function durationElement(from, to) {
  if (to) return h("span", null, duration(Date.parse(to) - Date.parse(from)));
  return h("time", { datetime: from, "data-ticks": "so-far" }, duration(Date.now() - Date.parse(from)));
}

/** Keep all times on the page true. */
export function startClock() {
  setInterval(() => {
    if (document.hidden) return;
    for (const element of document.querySelectorAll("time[data-ticks]")) {
      const at = element.getAttribute("datetime") ?? "";
      const text = element.getAttribute("data-ticks") === "ago" ? relative(at) : duration(Date.now() - Date.parse(at));
      if (element.textContent !== text) element.textContent = text;
    }
  }, 1000);
}
