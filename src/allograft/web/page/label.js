"use strict";
const $ = (id) => document.getElementById(id);
const state = { classes: [], keys: [], labels: [], at: 0, slices: 1, place: 0, saving: false, shown: 0 };
const done = []; // answers of this page in order: [number, label before]

async function get(path) {
  const found = await fetch(path);
  const data = await found.json();
  if (!found.ok) throw new Error(data.error || found.statusText);
  return data;
}

function say(text) { $("trouble").textContent = text; $("trouble").hidden = !text; }

function draw() {
  const given = state.labels.filter((label) => label).length, all = state.labels.length;
  $("progress").max = all; $("progress").value = given;
  $("count").textContent = given === all ? `all ${all} labelled: you may close this page` : `${given} of ${all} labelled`;
  $("which").textContent = `Image ${state.at + 1} of ${all}` + (state.labels[state.at] ? "" : ", no label yet");
  [...$("classes").children].forEach((button, i) => button.setAttribute("aria-pressed", String(state.labels[state.at] === state.classes[i])));
  $("back").disabled = state.at === 0; $("next").disabled = state.at === all - 1; $("undo").disabled = !done.length;
  $("slice").hidden = state.slices < 2; $("place").max = state.slices - 1; $("place").value = state.place;
  $("at").textContent = `${state.place + 1} of ${state.slices}`;
}

function picture() {
  const image = $("image");
  document.body.dataset.state = "loading";
  image.alt = `Image ${state.at + 1}`;
  image.src = `image/${state.at}/${state.place}`;
}

async function go(number) {
  state.at = Math.max(0, Math.min(state.labels.length - 1, number));
  const mine = ++state.shown;
  document.body.dataset.state = "loading"; // no answer is taken before the new image is seen
  try {
    const about = await get(`about/${state.at}`);
    if (mine !== state.shown) return;
    state.slices = about.slices; state.place = about.middle;
    $("gone").hidden = true; $("image").hidden = false;
    picture();
  } catch (error) {
    if (mine !== state.shown) return;
    state.slices = 1; $("image").hidden = true; $("gone").hidden = false; $("gone").textContent = String(error.message);
    document.body.dataset.state = "failed";
  }
  draw();
}

function open(from) {
  const all = state.labels.length;
  for (let step = 1; step <= all; step++) if (!state.labels[(from + step) % all]) return (from + step) % all;
  return Math.min(from + 1, all - 1);
}

async function keep(number, label) {
  state.saving = true;
  try {
    const answer = await fetch("label", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ number, label }) });
    if (!answer.ok) throw new Error((await answer.json()).error || answer.statusText);
    state.labels[number] = label;
    say("");
    return true;
  } catch (error) {
    say(`Not saved: ${error.message}. The image keeps its old label; is the program still running? Try again.`);
    return false;
  } finally { state.saving = false; }
}

async function choose(label) {
  if (state.saving || document.body.dataset.state !== "ready") return;
  const number = state.at, before = state.labels[number];
  if (await keep(number, label)) {
    done.push([number, before]);
    await go(label ? open(number) : number);
  }
}

async function undo() {
  if (state.saving || !done.length) return;
  const [number, before] = done[done.length - 1];
  if (await keep(number, before)) { done.pop(); await go(number); }
}

function slice(by) {
  const place = Math.max(0, Math.min(state.slices - 1, state.place + by));
  if (state.slices > 1 && place !== state.place) { state.place = place; picture(); draw(); }
}

document.addEventListener("keydown", (event) => {
  if (event.repeat && !event.key.startsWith("Arrow") || event.ctrlKey && event.key !== "z" || event.altKey || event.metaKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const chosen = event.ctrlKey ? -1 : state.keys.findIndex((keys) => keys.includes(key));
  const moves = { ArrowLeft: () => go(state.at - 1), ArrowRight: () => go(state.at + 1), ArrowUp: () => slice(1), ArrowDown: () => slice(-1), Backspace: undo, u: undo, Delete: () => choose("") };
  if (event.ctrlKey) { event.preventDefault(); undo(); }
  else if (chosen >= 0) { event.preventDefault(); choose(state.classes[chosen]); }
  else if (moves[key]) { event.preventDefault(); moves[key](); }
  else if (key === "n") go(open(state.at));
});
document.querySelector(".stage").addEventListener("wheel", (event) => { event.preventDefault(); slice(event.deltaY < 0 ? 1 : -1); }, { passive: false });
$("image").addEventListener("load", () => { document.body.dataset.state = "ready"; });
$("image").addEventListener("error", () => { document.body.dataset.state = "failed"; say("The image cannot be loaded; is the program still running?"); });
$("place").addEventListener("input", () => { state.place = Number($("place").value); picture(); draw(); });
$("back").addEventListener("click", () => go(state.at - 1));
$("next").addEventListener("click", () => go(state.at + 1));
$("undo").addEventListener("click", undo);
$("open").addEventListener("click", () => go(open(state.at)));

get("state").then((found) => {
  Object.assign(state, found);
  state.classes.forEach((name, i) => {
    const button = document.createElement("button"), text = document.createElement("span");
    button.type = "button"; text.textContent = name; button.append(text);
    state.keys[i].forEach((key) => { const cap = document.createElement("kbd"); cap.textContent = key; button.append(cap); });
    button.addEventListener("click", () => { button.blur(); choose(name); });
    $("classes").append(button);
  });
  const first = state.labels.findIndex((label) => !label);
  return go(first < 0 ? 0 : first);
}).catch((error) => say(error.message));
