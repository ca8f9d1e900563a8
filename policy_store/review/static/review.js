// Everything works without this: it keeps pages fresh, and moves through lists with j and k.
"use strict";
(() => {
  const say = (text) => { document.getElementById("announcer").textContent = text; };
  const regions = (root) => [...root.querySelectorAll("[data-live]")].filter((one) => one.id);
  const topics = (region) => (region.dataset.live || "audit").split(" ");

  // Lists: j and k move between what Enter opens.
  document.querySelectorAll(".with-keys").forEach((hint) => { hint.hidden = false; });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, [contenteditable]")) return;
    const step = { j: 1, k: -1 }[event.key];
    const links = step ? [...document.querySelectorAll("[data-key-open]")] : [];
    if (!links.length) return;
    const at = links.findIndex((link) => link.closest("[data-key-row]").contains(document.activeElement));
    const next = links[at < 0 ? (step > 0 ? 0 : links.length - 1) : at + step];
    if (next) { next.focus(); event.preventDefault(); }
  });

  // Fresh pages: the same page is asked for again, and its marked regions take the old ones' places.
  const edited = (region) => [...region.querySelectorAll("input, textarea, select")].some((field) =>
    field === document.activeElement ||
    (field.type !== "hidden" && "defaultValue" in field && field.value !== field.defaultValue) ||
    ("defaultChecked" in field && field.checked !== field.defaultChecked));
  const open = (region) => new Set([...region.querySelectorAll("details")]
    .map((one, at) => (one.open ? at : -1)));
  // What is the same but for a seal, or for how long ago something was, is no change.
  const gist = (region) => {
    const copy = region.cloneNode(true);
    copy.querySelectorAll("input[type=hidden], time, [data-volatile]").forEach((one) => one.remove());
    copy.querySelectorAll("details").forEach((one) => one.removeAttribute("open"));
    return copy.textContent.replace(/\s+/g, " ");
  };

  function swap(old, fresh) {
    const news = gist(old) !== gist(fresh);
    if (edited(old)) {
      if (news && !document.getElementById(`${old.id}-old`)) {
        const note = document.createElement("p");
        note.id = `${old.id}-old`;
        note.className = "notice";
        note.textContent = "This has changed since you began to write. A decision on what is not there any more will be refused: reload when you are ready.";
        old.before(note);
        say(note.textContent);
      }
      return;
    }
    if (old.outerHTML === fresh.outerHTML || old.matches(":active")) return;
    const unfolded = open(old);
    const held = old.contains(document.activeElement) && document.activeElement.getAttribute("href");
    fresh.querySelectorAll("details").forEach((one, at) => { one.open = one.open || unfolded.has(at); });
    if (news) {
      // What a button does may just have changed: nobody presses it by accident.
      fresh.querySelectorAll("button:not(:disabled)").forEach((button) => {
        button.disabled = true;
        setTimeout(() => { button.disabled = false; }, 1500);
      });
      if (old.dataset.announce) say(old.dataset.announce);
    }
    old.replaceWith(fresh);
    if (held) fresh.querySelector(`[href="${CSS.escape(held)}"]`)?.focus({ preventScroll: true });
  }

  async function refresh() {
    const address = new URL(location.href);
    address.searchParams.delete("said");
    const answer = await fetch(address, { headers: { "X-Refresh": "1" }, redirect: "manual" });
    if (answer.type === "opaqueredirect") { over(); return; }
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of regions(document)) {
      const fresh = page.getElementById(old.id);
      if (fresh) swap(old, document.adoptNode(fresh));
    }
    document.title = page.title;
  }

  function over() {
    stop();
    if (document.getElementById("over")) return;
    const note = document.createElement("p");
    note.id = "over";
    note.className = "notice";
    note.textContent = "Your session has ended, so this page stays as it is. ";
    const link = document.createElement("a");
    link.href = location.href; // whole: a path may begin like another host
    link.textContent = "Sign in again";
    note.append(link, ".");
    document.getElementById("main").prepend(note);
    say(note.textContent);
  }

  // The stream: open only while somebody looks, since browsers allow few of them.
  let source = null, seen = document.body.dataset.pulse, planned = 0, last = 0;
  const pause = () => 1000 * Math.max(2, ...regions(document).map((one) => Number(one.dataset.every) || 0));

  function plan() {
    if (planned) return;
    const wait = Math.max(last + pause() - Date.now(), 0) + 500 * Math.random();
    planned = setTimeout(() => {
      planned = 0;
      last = Date.now();
      refresh().catch(() => {});
    }, wait);
  }

  function start() {
    if (source || !document.body.dataset.events || !regions(document).length) return;
    source = new EventSource(`${document.body.dataset.events}?seen=${encodeURIComponent(seen)}`);
    source.onmessage = (event) => {
      seen = event.lastEventId;
      const changed = JSON.parse(event.data).changed;
      if (regions(document).some((one) => topics(one).some((topic) => changed.includes(topic)))) plan();
    };
    source.addEventListener("over", over);
  }

  function stop() {
    source?.close();
    source = null;
    clearTimeout(planned);
    planned = 0;
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  window.addEventListener("pagehide", stop);
  window.addEventListener("pageshow", (event) => { if (event.persisted) start(); });
  if (!document.hidden) start();
})();
