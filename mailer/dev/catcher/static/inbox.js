"use strict";
/* Live list, reading without reloading, tabs, keys. Markup from the server is already escaped. */

const list = document.getElementById("list");
const detail = document.getElementById("detail");
const search = document.getElementById("search");
const live = document.getElementById("live");
let limit = null;
let width = "desktop";
let tab = null;

const messageId = () => detail.querySelector(".message")?.dataset.id ?? null;
const rows = () => [...list.querySelectorAll(".row")];

function address(path, more = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries({ q: search.value.trim(), ...more })) {
    if (value) query.set(name, value);
  }
  return query.size ? `${path}?${query}` : path;
}

async function fragment(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return response.text();
}

/* The list: fetched again when the server says that something changed. */

let refreshing = false;
let stale = false;

async function refresh() {
  stale = true;
  if (refreshing) return;
  refreshing = true;
  try {
    while (stale) {
      stale = false;
      showList(await fragment(address("/list", { limit, selected: messageId() })));
    }
  } catch {
    setLive(false);
  } finally {
    refreshing = false;
  }
}

function showList(html) {
  const before = Number(list.querySelector("#count").dataset.total);
  const known = new Set(rows().map((row) => row.dataset.id));
  const focused = document.activeElement?.closest?.(".row")?.dataset.id;
  const opened = list.querySelector(".rules")?.open;
  const top = list.scrollTop;
  list.innerHTML = html;
  if (opened && list.querySelector(".rules")) list.querySelector(".rules").open = true;
  list.scrollTop = top;
  if (focused) list.querySelector(`.row[data-id="${focused}"]`)?.focus({ preventScroll: true });

  const { total, unread } = list.querySelector("#count").dataset;
  document.title = `${unread > 0 ? `(${unread}) ` : ""}Inbox`;
  const fresh = rows().filter((row) => row.classList.contains("unread") && !known.has(row.dataset.id));
  if (Number(total) > before && fresh.length) {
    fresh.forEach((row) => row.classList.add("fresh"));
    const subject = fresh[0].querySelector(".row-subject").textContent.replace("Unread: ", "");
    document.getElementById("announce").textContent = `New message: ${subject}`;
  }
  if (!messageId() && detail.querySelector(".drawing") && (Number(total) > 0) !== (before > 0)) {
    showBlank();
  }
}

function setLive(on) {
  live.classList.toggle("on", on);
  live.firstElementChild.textContent = on ? "Live" : "The catcher is not running";
}

/* A hidden page holds no connection: browsers allow only six per server. */
let events = null;

function listen() {
  events?.close();
  events = null;
  if (document.hidden) return;
  events = new EventSource("/events");
  events.onopen = () => setLive(true);
  events.onmessage = refresh;
  events.onerror = () => {
    setLive(false);
    /* Firefox gives up for good when the server is down. */
    if (events?.readyState === EventSource.CLOSED) setTimeout(listen, 1000);
  };
}

document.addEventListener("visibilitychange", listen);
window.addEventListener("pagehide", () => events?.close());

/* Reading. */

function mark(id) {
  for (const row of rows()) {
    if (row.dataset.id === id) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
}

async function open(id, { push = true, focus = false } = {}) {
  let html;
  try {
    html = await fragment(address(`/messages/${id}/view`));
  } catch {
    location.assign(address(`/messages/${id}`));
    return;
  }
  detail.innerHTML = html;
  detail.scrollTop = 0;
  document.body.classList.add("reading");
  mark(id);
  if (push) history.pushState({}, "", address(`/messages/${id}`));
  prepare();
  if (focus || getComputedStyle(list).display === "none") {
    detail.querySelector("h1").focus({ preventScroll: true });
  }
}

async function showBlank() {
  const page = new DOMParser().parseFromString(await fragment("/"), "text/html");
  detail.replaceChildren(...page.getElementById("detail").childNodes);
}

function closeMessage({ push = true } = {}) {
  const id = messageId();
  document.body.classList.remove("reading");
  showBlank();
  mark(null);
  if (push) history.pushState({}, "", address("/"));
  list.querySelector(`.row[data-id="${id}"]`)?.focus();
}

window.addEventListener("popstate", () => {
  const id = location.pathname.match(/^\/messages\/(\d+)$/)?.[1];
  search.value = new URLSearchParams(location.search).get("q") ?? "";
  if (id) open(id, { push: false });
  else closeMessage({ push: false });
  refresh();
});

function step(by) {
  const all = rows();
  const id = document.activeElement?.closest?.(".row")?.dataset.id ?? messageId();
  const at = all.findIndex((row) => row.dataset.id === id);
  const next = all[at < 0 ? 0 : Math.min(Math.max(at + by, 0), all.length - 1)];
  if (!next) return;
  next.focus();
  next.scrollIntoView({ block: "nearest" });
  if (getComputedStyle(detail).display !== "none") open(next.dataset.id);
}

async function remove() {
  const id = messageId();
  if (!id) return;
  const all = rows();
  const at = all.findIndex((row) => row.dataset.id === id);
  const next = (all[at + 1] ?? all[at - 1])?.dataset.id;
  await fetch(`/api/messages/${id}`, { method: "DELETE" });
  document.getElementById("announce").textContent = "Message deleted";
  const phone = getComputedStyle(list).display === "none";
  if (next && !phone) await open(next);
  else closeMessage();
  await refresh();
}

/* Inside a message: tabs and the width of the preview. */

function prepare() {
  const wanted = tab && detail.querySelector(`#tab-${tab}`);
  if (wanted) choose(wanted, { remember: false });
  setWidth(width);
}

function choose(chosen, { remember = true, focus = false } = {}) {
  for (const other of detail.querySelectorAll("[role=tab]")) {
    const selected = other === chosen;
    other.setAttribute("aria-selected", String(selected));
    other.tabIndex = selected ? 0 : -1;
    document.getElementById(other.getAttribute("aria-controls")).hidden = !selected;
  }
  const html = chosen.id === "tab-html";
  detail.querySelector(".widths")?.classList.toggle("away", !html);
  if (remember) tab = chosen.id.slice("tab-".length);
  if (focus) chosen.focus();
}

function setWidth(chosen) {
  width = chosen;
  const panel = detail.querySelector(".panel-html");
  if (!panel) return;
  panel.dataset.width = chosen;
  for (const button of detail.querySelectorAll("[data-width][aria-pressed]")) {
    button.setAttribute("aria-pressed", String(button.dataset.width === chosen));
  }
}

/* Clicks and keys. */

document.addEventListener("click", async (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  const hit = (selector) => event.target.closest(selector);
  if (hit(".row")) {
    event.preventDefault();
    open(hit(".row").dataset.id);
  } else if (hit(".back")) {
    event.preventDefault();
    closeMessage();
  } else if (hit("[data-limit]")) {
    event.preventDefault();
    limit = hit("[data-limit]").dataset.limit;
    refresh();
  } else if (hit("[role=tab]")) {
    choose(hit("[role=tab]"));
  } else if (hit("button[data-width]")) {
    setWidth(hit("button[data-width]").dataset.width);
  } else if (hit("#delete")) {
    remove();
  } else if (hit("#delete-all")) {
    document.getElementById("confirm").showModal();
  } else if (hit("[data-remove-rule]")) {
    await fetch(`/api/script/${hit("[data-remove-rule]").dataset.removeRule}`, { method: "DELETE" });
    refresh();
  }
});

document.getElementById("confirm").addEventListener("close", async (event) => {
  if (event.target.returnValue !== "yes") return;
  event.target.returnValue = "";
  await fetch("/api/messages", { method: "DELETE" });
  closeMessage();
  await refresh();
});

let typing;
search.form.addEventListener("submit", (event) => {
  event.preventDefault();
  refresh();
});
search.addEventListener("input", () => {
  clearTimeout(typing);
  limit = null;
  typing = setTimeout(() => {
    history.replaceState({}, "", address(location.pathname));
    refresh();
  }, 150);
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const chosen = event.target.closest?.("[role=tab]");
  if (chosen && ["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) {
    const all = [...detail.querySelectorAll("[role=tab]")];
    const at = all.indexOf(chosen);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: -1 }[event.key];
    choose(all.at(to % all.length), { focus: true });
    event.preventDefault();
    return;
  }
  if (event.target === search) {
    if (event.key === "Escape") search.blur();
    if (event.key === "ArrowDown") { event.preventDefault(); step(0); }
    return;
  }
  if (event.key === "/") { event.preventDefault(); search.select(); }
  else if (event.key === "Escape" && messageId()) closeMessage();
  else if (event.key === "Delete") remove();
  else if (event.target.closest?.(".panel")) return;
  else if (event.key === "ArrowDown" || event.key === "j") { event.preventDefault(); step(1); }
  else if (event.key === "ArrowUp" || event.key === "k") { event.preventDefault(); step(-1); }
});

/* The page may come with a message and its place in the list far below. */
list.querySelector("[aria-current]")?.scrollIntoView({ block: "center" });
listen();
