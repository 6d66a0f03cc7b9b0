// Live, where it can be: the journal's news over server-sent events, and the sections anew when there is some. The page
// says the same without this.
"use strict";
(() => {
  if (document.body.dataset.signedIn !== "yes" || !window.EventSource) return;
  const PAUSE_MS = 2000;
  let due = 0;

  const busy = (section) =>
    section.contains(document.activeElement) || [...section.querySelectorAll("audio")].some((one) => !one.paused) ||
    [...section.querySelectorAll("details")].some((one) => one.open);

  const anew = async () => {
    due = 0;
    const answer = await fetch("/", { headers: { accept: "text/html" } });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const section of document.querySelectorAll("section[data-live]")) {
      const next = page.getElementById(section.id);
      if (next && next.innerHTML !== section.innerHTML && !busy(section)) section.replaceWith(next);
    }
    document.title = page.title;
    document.querySelector("header").replaceWith(page.querySelector("header"));
  };

  const source = new EventSource("/events");
  source.addEventListener("journal", () => {
    if (!due) due = window.setTimeout(() => { anew().catch(() => {}); }, PAUSE_MS);
  });
})();
