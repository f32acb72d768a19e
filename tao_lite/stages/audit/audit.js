"use strict";
const items = [...document.querySelectorAll(".item")];
const keys = {a: "accept", k: "keep", u: "unsure"};
const store = "tao_lite audit " + document.body.dataset.name;
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

function show(item, decision) {
  if (decision) item.dataset.decision = decision;
  else delete item.dataset.decision;
  for (const button of item.querySelectorAll("button")) {
    button.setAttribute("aria-pressed", button.value === decision);
  }
}

function count() {
  const done = items.filter((item) => item.dataset.decision).length;
  document.querySelector("#done").textContent = done + " of " + items.length + " decided";
}

function keep() {
  try {
    localStorage.setItem(store, JSON.stringify(items.map((item) => item.dataset.decision || "")));
  } catch {
    // A browser may keep nothing of a file; the page itself still does.
  }
}

function restore() {
  try {
    JSON.parse(localStorage.getItem(store) || "[]").forEach((decision, place) => show(items[place], decision));
  } catch {
    // As in keep.
  }
}

function go(item, step) {
  const next = items[items.indexOf(item) + step];
  if (next) next.focus();
}

function decide(item, decision) {
  show(item, item.dataset.decision === decision ? "" : decision);
  count();
  keep();
}

for (const item of items) {
  item.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const key = event.key.toLowerCase();
    if (key in keys) {
      decide(item, keys[key]);
      if (item.dataset.decision) go(item, 1);
    } else if (key === "n" || key === "arrowdown") go(item, 1);
    else if (key === "p" || key === "arrowup") go(item, -1);
    else return;
    event.preventDefault();
  });
  for (const button of item.querySelectorAll("button")) {
    button.addEventListener("click", () => decide(item, button.value));
  }
}

document.querySelector("#save").addEventListener("click", () => {
  const end = "\n";
  const parts = [bytes(document.body.dataset.header), end];
  for (const item of items) {
    if (item.dataset.decision) parts.push(bytes(item.dataset.row), item.dataset.decision, end);
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(parts, {type: "text/csv"}));
  link.download = "decisions.csv";
  link.click();
});

restore();
count();
