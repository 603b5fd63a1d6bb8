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

  // Suggestions for the last condition of a query.
  for (const field of all("[data-suggest]")) {
    let timer;
    field.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(async () => {
        const start = field.value.search(/\S*$/);
        const answer = await fetch(`${field.dataset.suggest}?q=${encodeURIComponent(field.value.slice(start))}`);
        if (!answer.ok) return;
        const options = (await answer.json()).map((text) => {
          const option = document.createElement("option");
          option.value = field.value.slice(0, start) + text;
          return option;
        });
        field.list.replaceChildren(...options);
      }, 200);
    });
  }

  // The live tail.
  const tail = one("[data-tail]");
  if (tail) {
    const MOST_ROWS = 500;
    const pause = one("#pause"), state = one("#tail-state"), body = one("#events");
    const address = new URL(tail.dataset.tail, location.href);
    let source, count = 0;
    const say = (text) => { state.textContent = text; };
    function open() {
      source = new EventSource(address);
      source.onopen = () => say(count ? `Live: ${count} new events` : "Live: waiting for events");
      source.onmessage = (message) => {
        address.searchParams.set("after", message.lastEventId);
        const rows = document.createElement("tbody");
        rows.innerHTML = message.data;
        count += rows.children.length;
        showTimes(rows);
        body.prepend(...rows.children);
        while (body.children.length > MOST_ROWS) body.lastElementChild.remove();
        say(`Live: ${count} new events`);
      };
      source.addEventListener("skipped", (message) => {
        address.searchParams.set("after", message.lastEventId);
        say(`Live: ${message.data} events were skipped, because they came faster than they can be shown`);
      });
      source.addEventListener("ended", (message) => say(`Interrupted: ${message.data}. Trying again…`));
      source.onerror = () => {
        say(source.readyState === EventSource.CLOSED
          ? "Not live: the server refuses another tail. Close one, and load the page again"
          : "Interrupted. Connecting again…");
      };
    }
    pause.hidden = false;
    pause.addEventListener("click", () => {
      const isPaused = pause.getAttribute("aria-pressed") === "true";
      pause.setAttribute("aria-pressed", String(!isPaused));
      pause.textContent = isPaused ? "Pause" : "Continue";
      if (isPaused) open();
      else { source.close(); say("Paused: events are kept in the store, and shown when you continue"); }
    });
    say("Connecting…");
    open();
  }

  // Consumers: rate and trend since the page was opened.
  const consumers = one("[data-consumers]");
  if (consumers) {
    const SVG = "http://www.w3.org/2000/svg", SAMPLES = 60, EVERY = 2000;
    const history = new Map();
    const digits = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");
    function sparkline(cell, lags) {
      const most = Math.max(...lags, 1);
      const svg = document.createElementNS(SVG, "svg");
      svg.setAttribute("viewBox", `0 0 ${SAMPLES} 20`);
      svg.setAttribute("preserveAspectRatio", "none");
      svg.setAttribute("class", "spark");
      svg.setAttribute("role", "img");
      const change = lags.at(-1) - lags[0];
      const text = change === 0 ? "unchanged" : change < 0 ? `${digits(-change)} less` : `${digits(change)} more`;
      svg.setAttribute("aria-label", text);
      const line = document.createElementNS(SVG, "polyline");
      line.setAttribute("points", lags.map((lag, i) => `${(i * SAMPLES) / Math.max(lags.length - 1, 1)},${19 - (18 * lag) / most}`).join(" "));
      svg.append(line);
      cell.replaceChildren(svg, ` ${text}`);
    }
    async function look() {
      const answer = await fetch(consumers.dataset.consumers).catch(() => null);
      if (!answer?.ok) return;
      const now = performance.now();
      const rows = new Map(all("[data-cursor]", consumers).map((row) => [row.dataset.cursor, row]));
      for (const { name, position, lag } of await answer.json()) {
        const row = rows.get(name);
        if (!row) continue;
        const seen = history.get(name) ?? [];
        seen.push({ now, position, lag });
        if (seen.length > SAMPLES) seen.shift();
        history.set(name, seen);
        row.querySelector("[data-position]").textContent = digits(position);
        row.querySelector("[data-lag]").textContent = digits(lag);
        row.querySelector("meter").value = position;
        if (seen.length < 2) continue;
        const first = seen[0];
        const rate = (position - first.position) / ((now - first.now) / 1000);
        row.querySelector("[data-rate]").textContent = `${rate.toFixed(rate < 10 ? 1 : 0)}/s`;
        sparkline(row.querySelector("[data-trend]"), seen.map((it) => it.lag));
      }
    }
    look();
    setInterval(look, EVERY);
  }

  // Differences: the result follows the sliders.
  const slider = one("[data-slider]");
  if (slider) {
    for (const range of all("input[type=range]", slider)) {
      const output = one(`output[for=${range.id}]`);
      range.addEventListener("input", () => { output.textContent = `${range.value} of ${range.max}`; });
      range.addEventListener("change", () => slider.requestSubmit());
    }
  }

  // The progress of a verification.
  const verify = one("[data-verify]");
  if (verify) {
    const timer = setInterval(async () => {
      const answer = await fetch(verify.dataset.verify).catch(() => null);
      if (!answer?.ok) return;
      const state = await answer.json();
      if (!state || state.is_over) { clearInterval(timer); location.reload(); return; }
      verify.querySelector("progress").value = state.percent;
      verify.querySelector("[data-done]").textContent = state.done;
    }, 500);
  }
})();
