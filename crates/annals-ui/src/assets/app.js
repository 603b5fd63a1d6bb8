// Keys, local time and live updates. Every page is complete without this file.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const one = (selector) => document.querySelector(selector);

  // Times: UTC as the server writes them, or local.
  const kept = (() => { try { return window.localStorage; } catch { return null; } })();
  let isLocal = kept?.getItem("annals-clock") === "local";
  const clock = one("#clock");
  const pad = (number, digits = 2) => String(number).padStart(digits, "0");
  function showTimes(root = document) {
    for (const time of all("time[datetime]", root)) {
      time.dataset.utc ??= time.textContent;
      const at = new Date(time.dateTime);
      time.textContent = !isLocal || Number.isNaN(at.getTime()) ? time.dataset.utc
        : `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${pad(at.getHours())}:` +
          `${pad(at.getMinutes())}:${pad(at.getSeconds())}.${pad(at.getMilliseconds(), 3)}`;
    }
    if (clock) clock.textContent = isLocal ? "Show UTC" : "Show local time";
  }
  function turnClock() {
    isLocal = !isLocal;
    kept?.setItem("annals-clock", isLocal ? "local" : "utc");
    showTimes();
  }
  if (clock) { clock.hidden = false; clock.addEventListener("click", turnClock); }
  showTimes();

  // Parts that are computed after the page.
  async function load(part) {
    try {
      const answer = await fetch(part.dataset.load);
      const text = await answer.text();
      if (!answer.ok) throw new Error(text.startsWith("<") ? `status ${answer.status}` : text);
      part.innerHTML = text;
      showTimes(part);
    } catch (error) {
      part.textContent = `This part could not be loaded: ${error.message}`;
    }
  }
  for (const part of all("[data-load]")) load(part);

  // Keys.
  function move(step) {
    const rows = all("[data-row] a:first-of-type").filter((link) => link.closest("[data-row]").querySelector("a") === link);
    if (!rows.length) return;
    const here = document.activeElement?.closest?.("[data-row]")?.querySelector("a");
    const at = rows.indexOf(here);
    const next = at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + step, 0), rows.length - 1);
    rows[next].focus();
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const inRow = document.activeElement?.closest?.("[data-row]");
    if (event.target.closest?.("input, select, textarea, [contenteditable]")) return;
    const act = {
      "/": () => one("[data-key='/']")?.focus(),
      j: () => move(1), k: () => move(-1),
      ArrowDown: inRow && (() => move(1)), ArrowUp: inRow && (() => move(-1)),
      n: () => one("a[rel='next']")?.click(), p: () => one("a[rel='prev']")?.click(),
      t: turnClock,
    }[event.key];
    if (act) { event.preventDefault(); act(); }
  });

  window.annals = { all, one, showTimes };
})();
