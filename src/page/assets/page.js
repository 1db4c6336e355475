// Keeps the page current: asks for it anew and takes over what changed, and says so when what is shown is old. Without it
// everything works, and stands still.
"use strict";

const EVERY_MS = 5000;
const DEADLINE_MS = 10000;
// Two answers are missing.
const OLD_MS = 15000;
// As long as somebody may press on something before it is taken away from under the finger.
const PRESS_MS = 3000;

const notice = document.getElementById("notice");
const title = () => document.title.replace(/^\(not current\) /, "");
let shownAt = Date.now();
let pressedAt = -Infinity;
let reason = "";

// Where the page is, without the name and password that a browser sends by itself.
function address() {
  const url = new URL(location.href);
  url.username = url.password = url.hash = "";
  return url;
}

// Whether somebody is at something that must not be taken away.
function isHeld() {
  const selection = getSelection();
  const selects = selection && !selection.isCollapsed && document.getElementById("live").contains(selection.anchorNode);
  return selects || Date.now() - pressedAt < PRESS_MS;
}

// The state that somebody has given the page stays: what is unfolded, and where the focus is.
function takeOver(page, answer) {
  const live = document.getElementById("live");
  const fresh = page.getElementById("live");
  const open = new Set();
  for (const details of live.querySelectorAll("details[open]")) open.add(details.dataset.key);
  for (const details of fresh.querySelectorAll("details")) details.open = open.has(details.dataset.key);
  const focus = live.contains(document.activeElement) ? addressOf(document.activeElement) : null;
  live.replaceWith(document.adoptNode(fresh));
  // What somebody types above it is left alone, unless what it was of is there no more.
  const heading = page.getElementById("heading");
  if (answer.status === 404 && heading) document.getElementById("heading").replaceWith(document.adoptNode(heading));
  if (focus) focusOn(focus);
  document.title = page.title;
}

// A link by where it leads, a summary by whose it is.
function addressOf(element) {
  if (element.matches("summary")) return { summary: element.parentElement.dataset.key };
  return { href: element.getAttribute("href") };
}

function focusOn(place) {
  for (const element of document.querySelectorAll("#live a, #live summary")) {
    const same = addressOf(element);
    if (same.summary === place.summary && same.href === place.href) {
      element.focus({ preventScroll: true });
      return;
    }
  }
}

// Says whether what is shown is old, whatever the reason.
function mark() {
  const old = Date.now() - shownAt > OLD_MS;
  const text = old ? `Not current: as of ${new Date(shownAt).toLocaleTimeString()}. ${reason}`.trim() : "";
  // Told once, and not each time.
  if (notice.textContent !== text) notice.textContent = text;
  document.body.classList.toggle("old", old);
  const wanted = old ? `(not current) ${title()}` : title();
  if (document.title !== wanted) document.title = wanted;
}

// Asks once; how long to wait before the next time, or null for never again.
async function refresh() {
  if (document.hidden) return EVERY_MS;
  try {
    const answer = await fetch(address(), {
      cache: "no-store",
      headers: { accept: "text/html" },
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
    if (answer.status === 401) {
      reason = "It asks for a password: reload the page.";
      return null;
    }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!page.getElementById("live")) {
      reason = `The answer is ${answer.status}.`;
      return Math.min(60000, Math.max(EVERY_MS, 1000 * (Number(answer.headers.get("retry-after")) || 0)));
    }
    if (isHeld()) {
      reason = "Something on it is selected or pressed.";
      return EVERY_MS;
    }
    takeOver(page, answer);
    shownAt = Date.now();
    reason = "";
  } catch {
    reason = "There is no answer.";
  }
  return EVERY_MS;
}

// One at a time, so that no older answer takes the place of a newer one.
async function goOn() {
  for (let wait = EVERY_MS; wait !== null; ) {
    await new Promise((resolve) => { setTimeout(resolve, wait); });
    wait = await refresh();
    mark();
  }
}

addEventListener("pointerdown", () => { pressedAt = Date.now(); });
addEventListener("pointerup", () => { pressedAt = -Infinity; });
document.addEventListener("visibilitychange", mark);
addEventListener("pageshow", mark);
setInterval(mark, 1000);
goOn();
