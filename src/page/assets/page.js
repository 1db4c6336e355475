// Keeps the page current: asks for it anew and takes over what changed. Without it everything works, and stands still.
"use strict";

const EVERY_MS = 5000;
const DEADLINE_MS = 10000;

const notice = document.getElementById("notice");
let failedSince = null;
// While somebody presses on something, it is not taken away from under the finger.
let pressed = false;

// The state that somebody has given the page stays: what is unfolded, and where the focus is.
function takeOver(fresh) {
  const live = document.getElementById("live");
  const open = new Set();
  for (const details of live.querySelectorAll("details[open]")) open.add(details.dataset.key);
  for (const details of fresh.querySelectorAll("details")) details.open = open.has(details.dataset.key);
  const focus = live.contains(document.activeElement) ? addressOf(document.activeElement) : null;
  live.replaceWith(document.adoptNode(fresh));
  if (focus) focusOn(focus);
}

// A link by where it leads, a summary by whose it is.
function addressOf(element) {
  if (element.matches("summary")) return { summary: element.parentElement.dataset.key };
  return { href: element.getAttribute("href") };
}

function focusOn(address) {
  const all = document.querySelectorAll("#live a, #live summary");
  for (const element of all) {
    const same = addressOf(element);
    if (same.summary === address.summary && same.href === address.href) {
      element.focus({ preventScroll: true });
      return;
    }
  }
}

async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.href, {
      cache: "no-store",
      headers: { accept: "text/html" },
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
    if (!answer.ok) throw new Error(`the answer is ${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("live");
    if (!fresh) throw new Error("the answer is another page");
    if (pressed) return;
    takeOver(fresh);
    document.title = page.title;
    failedSince = null;
    if (notice.textContent) notice.textContent = "";
  } catch {
    failedSince ??= new Date();
    const text = `Not current: no answer since ${failedSince.toLocaleTimeString()}.`;
    // Told once, and not at each attempt.
    if (notice.textContent !== text) notice.textContent = text;
  }
}

addEventListener("pointerdown", () => { pressed = true; });
for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => { pressed = false; });
setInterval(refresh, EVERY_MS);
document.addEventListener("visibilitychange", refresh);
