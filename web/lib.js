// Elements, requests, times, and a graph as an outline. Text from the server only ever becomes text nodes.

/** Makes an element. Properties are set as they are; children that are null are left out. */
export function el(tag, properties, ...children) {
  const { data, ...rest } = properties ?? {};
  const made = Object.assign(document.createElement(tag), rest);
  Object.assign(made.dataset, data ?? {});
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** A problem document as an error; status 0 means that the server did not answer. */
export class Problem extends Error {
  constructor(status, body) {
    super(body?.detail ?? body?.title ?? (status ? `The server answered ${status}.` : "The server does not answer."));
    this.status = status;
  }
}

/** Calls below /api/v1 with the session cookie. Resolves to the Response; rejects with a Problem. */
export async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(`/api/v1${path}`, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0);
  }
  syncClock(response);
  if (response.ok) return response;
  throw new Problem(response.status, await response.json().catch(() => null));
}

export async function get(path, query = {}) {
  const wanted = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(wanted).toString();
  return (await request(text ? `${path}?${text}` : path)).json();
}

export function post(path, body) {
  return request(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
}

/** Up to `limit` items of a paged list. */
export async function pages(path, limit, query = {}) {
  const items = [];
  let cursor = null;
  do {
    const page = await get(path, { ...query, limit: Math.min(limit - items.length, 500), cursor });
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor && items.length < limit);
  return items;
}

export const TERMINAL = new Set(["succeeded", "failed", "skipped", "blocked", "cancelled"]);
const ICONS = {
  queued: "◌", pending: "○", ready: "◌", waiting: "◷", starting: "◔", running: "●", succeeded: "✔", failed: "✘",
  skipped: "↷", blocked: "⊘", cancelled: "■",
};

/** A state: icon, colour and word. */
export function state(status) {
  const icon = el("span", { className: "icon", ariaHidden: "true" }, ICONS[status] ?? "?");
  return el("span", { className: "state", data: { state: status } }, icon, status);
}

export function duration(seconds) {
  if (seconds === null) return "";
  const s = Math.max(seconds, 0);
  if (s < 9.995) return `${s.toFixed(2)} s`;
  if (s < 59.95) return `${s.toFixed(1)} s`;
  const whole = Math.round(s);
  const two = (n) => String(n).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${two(whole % 60)}s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)}h ${two(Math.floor((whole % 3600) / 60))}m`;
  return `${Math.floor(whole / 86400)}d ${two(Math.floor((whole % 86400) / 3600))}h`;
}

/** How far the server's clock is ahead of ours, in ms; durations of what still runs are counted by it. */
let ahead = 0;
function syncClock(response) {
  const off = Date.parse(response.headers.get("date") ?? "") - Date.now();
  ahead = Math.abs(off) > 2000 ? off : 0; // NaN, where there is no date, is not
}

export function elapsed(started, ended) {
  if (!started) return null;
  return ((ended ? Date.parse(ended) : Date.now() + ahead) - Date.parse(started)) / 1000;
}

/** How many records failed, in words. */
export function records(failed) {
  return `${failed} failed record${failed === 1 ? "" : "s"}`;
}

export function moment(text) {
  return text ? el("time", { dateTime: text, title: text }, new Date(text).toLocaleString()) : "";
}

/** Nodes in drawing order with the lines before their names, as the command line draws them: see app/cli/outline.py. */
export function outline(nodes) {
  const needs = new Map(nodes.map((node) => [node.name, (node.needs ?? [])]));
  const order = topological(needs);
  if (order.length > 500) return order.map((name) => ({ name, lead: "" }));
  const below = dominated(order, needs);
  const rows = [];
  const level = (names, rest, top) => {
    if (names.length === 1 || top) return names.map((name) => [name, rest, rest]);
    const branches = names.filter((name) => needs.get(name).length <= 1);
    const last = branches.at(-1);
    return [
      ...branches.map((name) => [name, rest + (name === last ? "└─ " : "├─ "), rest + (name === last ? "   " : "│  ")]),
      ...names.filter((name) => needs.get(name).length > 1).map((name) => [name, rest, rest]),
    ];
  };
  const stack = level(below.get(null) ?? [], "", true).reverse();
  while (stack.length) {
    const [name, lead, rest] = stack.pop();
    rows.push({ name, lead });
    stack.push(...level(below.get(name) ?? [], rest, false).reverse());
  }
  return rows;
}

function topological(needs) {
  const waits = new Map([...needs].map(([name, ups]) => [name, new Set(ups.filter((up) => needs.has(up)))]));
  const downs = new Map([...needs.keys()].map((name) => [name, []]));
  for (const [name, ups] of waits) for (const up of ups) downs.get(up).push(name);
  const order = [...waits].filter(([, ups]) => !ups.size).map(([name]) => name);
  for (const name of order) {
    for (const down of downs.get(name)) {
      waits.get(down).delete(name);
      if (!waits.get(down).size) order.push(down);
    }
  }
  return order;
}

function dominated(order, needs) {
  const parent = new Map();
  const depth = new Map([[null, 0]]);
  const below = new Map();
  for (const name of order) {
    const [first, ...others] = needs.get(name).filter((up) => parent.has(up));
    let meet = first ?? null;
    for (let other of others) {
      while (meet !== other) {
        if (depth.get(meet) >= depth.get(other)) meet = parent.get(meet);
        else other = parent.get(other);
      }
    }
    parent.set(name, meet);
    depth.set(name, depth.get(meet) + 1);
    below.set(meet, [...(below.get(meet) ?? []), name]);
  }
  return below;
}
