// The page: what /events tells is drawn again whenever it comes; what people do goes to /invocations and /manage.
// Everything that comes from a store or a model is set as text, never as HTML. No library, no build.
"use strict";

const $ = (id) => document.getElementById(id);
const PARTS = ["fetch", "unpack", "start", "load", "answer", "first_predict"];
const NAMES = { first_predict: "first predict" };
let token = sessionStorage.getItem("token");
let state = { models: [], may_manage: false };
let after = null;

const headers = (more = {}) => (token ? { ...more, Authorization: `Bearer ${token}` } : more);

async function ask(path, how = {}) {
  const response = await fetch(path, { ...how, headers: headers(how.headers) });
  if (response.status === 403 && !state.may_manage) $("token-box").hidden = false;
  return response;
}

// Events. fetch and not EventSource, which cannot carry a token.

async function watch() {
  try {
    const response = await ask("/events");
    if (!response.ok) throw new Error((await response.json()).Message);
    $("link").textContent = "live";
    $("token-box").hidden = true;
    await read(response.body.getReader());
    $("link").textContent = "the endpoint has ended";
  } catch (error) {
    $("link").textContent = `not connected: ${error.message}`;
  }
  setTimeout(watch, 2000);
}

async function read(reader) {
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += decoder.decode(value, { stream: true });
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      if (event.startsWith("data: ")) show(JSON.parse(event.slice(6)));
    }
  }
}

// Drawing

const bytes = (size) => {
  if (size === null || size === undefined) return "unknown";
  const unit = size < 1e6 ? [1e3, "kB"] : size < 1e9 ? [1e6, "MB"] : [1e9, "GB"];
  return `${(size / unit[0]).toFixed(1)} ${unit[1]}`;
};
const age = (since) => {
  const seconds = Math.max(0, Date.now() / 1000 - since);
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
};
const number = (value) => Number(value).toLocaleString("en");

function show(told) {
  const first = state.where === undefined;
  state = told;
  const taken = told.models.reduce((sum, model) => sum + (model.bytes || 0), 0);
  $("where").textContent = told.where || "";
  $("total-loaded").textContent = number(told.models.length);
  $("total-catalogue").textContent = told.catalogue === null ? "unknown" : number(told.catalogue);
  $("total-memory").textContent = told.memory ? `${bytes(taken)} of ${bytes(told.memory)}` : bytes(taken);
  const calls = told.hits + told.misses;
  $("total-hits").textContent = calls ? `${((100 * told.hits) / calls).toFixed(1)} %` : "none yet";
  $("nothing").hidden = told.models.length > 0;
  drawModels(told.memory || Math.max(1, ...told.models.map((model) => model.bytes || 0)));
  if (first) list(true);
}

function drawModels(most) {
  const cards = new Map([...$("models").children].map((card) => [card.dataset.name, card]));
  const order = state.models.map((model) => {
    const card = cards.get(model.model_name) || newCard(model);
    cards.delete(model.model_name);
    draw(card, model, most);
    return card;
  });
  for (const card of cards.values()) card.remove();
  // Cards are moved only where their order has changed: moving takes the keyboard's focus away.
  order.forEach((card, at) => {
    if ($("models").children[at] !== card) $("models").insertBefore(card, $("models").children[at] || null);
  });
}

function newCard(model) {
  const card = $("model").content.firstElementChild.cloneNode(true);
  card.dataset.name = model.model_name;
  card.dataset.target = model.target_model;
  card.querySelector(".name").textContent = model.target_model;
  for (const button of card.querySelectorAll("button")) {
    button.setAttribute("aria-label", `${button.textContent} ${model.target_model}`);
  }
  return card;
}

function draw(card, model, most) {
  card.querySelector(".state").textContent = model.pinned ? `${model.state}, pinned` : model.state;
  const bar = card.querySelector(".bar");
  bar.setAttribute("aria-label", `memory: ${bytes(model.bytes)}`);
  bar.firstElementChild.style.width = `${Math.min(100, (100 * (model.bytes || 0)) / most)}%`;
  const facts = [`${bytes(model.bytes)} of memory`, `${number(model.hits)} hits`, `${number(model.misses)} misses`];
  facts.push(`loaded ${age(model.since)} ago`, `used ${age(model.last_used)} ago`);
  if (model.in_flight) facts.push(`${model.in_flight} in flight`);
  card.querySelector(".facts").textContent = facts.join(" · ");
  const warning = card.querySelector(".warning");
  warning.hidden = !model.stale;
  warning.textContent = [model.stale, model.refused].filter(Boolean).join(": ");
  waterfall(card, model.parts);
  const pin = card.querySelector("[data-order=pin], [data-order=unpin]");
  pin.dataset.order = model.pinned ? "unpin" : "pin";
  pin.textContent = model.pinned ? "Unpin" : "Pin";
  pin.setAttribute("aria-label", `${pin.textContent} ${model.target_model}`);
  for (const button of card.querySelectorAll("[data-order]")) button.hidden = !state.may_manage;
  card.querySelector("[data-order=load]").hidden = !state.may_manage || !model.refused;
}

function waterfall(card, parts) {
  const entries = Object.entries(parts);
  const key = JSON.stringify(entries);
  if (card.dataset.parts === key) return;
  card.dataset.parts = key;
  const total = entries.reduce((sum, [, value]) => sum + value, 0) || 1;
  const bar = card.querySelector(".waterfall");
  const legend = card.querySelector(".legend");
  bar.replaceChildren();
  legend.replaceChildren();
  bar.setAttribute("aria-label", `cold start: ${entries.map(([part, ms]) => `${part} ${ms} ms`).join(", ")}`);
  entries.forEach(([part, milliseconds], at) => {
    const known = PARTS.indexOf(part);
    const colour = `var(--part-${(known < 0 ? at : known) % 6})`;
    const piece = document.createElement("span");
    piece.style.background = colour;
    piece.style.width = `${(100 * milliseconds) / total}%`;
    bar.append(piece);
    const word = document.createElement("span");
    const mark = document.createElement("i");
    mark.style.background = colour;
    word.append(mark, `${NAMES[part] || part} ${milliseconds.toFixed(1)} ms`);
    legend.append(word);
  });
}

// Catalogue

async function list(anew) {
  const query = new URLSearchParams({ match: $("match").value, limit: 50 });
  if (!anew && after) query.set("after", after);
  const response = await ask(`/catalogue?${query}`);
  const told = await response.json();
  if (!response.ok) {
    $("found").textContent = told.Message;
    return;
  }
  if (anew) {
    $("catalogue").replaceChildren();
    $("names").replaceChildren();
  }
  for (const model of told.models) {
    const line = document.createElement("li");
    const button = document.createElement("button");
    const size = document.createElement("span");
    button.textContent = model.target_model;
    button.dataset.fill = "";
    button.setAttribute("aria-label", `Try ${model.target_model}`);
    line.dataset.target = model.target_model;
    size.textContent = bytes(model.bytes);
    line.append(button, size);
    for (const order of state.may_manage ? ["load", "pin"] : []) {
      const give = document.createElement("button");
      give.textContent = order === "load" ? "Load" : "Pin";
      give.dataset.order = order;
      give.setAttribute("aria-label", `${give.textContent} ${model.target_model} of the catalogue`);
      line.append(give);
    }
    $("catalogue").append(line);
    const option = document.createElement("option");
    option.value = model.target_model;
    $("names").append(option);
  }
  after = told.after;
  $("more").hidden = !after;
  $("found").textContent = `${number(told.found)} of ${number(told.all)} artifacts`;
}

// What people do

async function invoke(event) {
  event.preventDefault();
  $("send").disabled = true;
  $("timing").textContent = "waiting for the answer";
  const began = performance.now();
  try {
    const response = await ask("/invocations", {
      method: "POST",
      // Header values are bytes to a browser: a name that is not ASCII goes as its UTF-8.
      headers: {
        "X-Amzn-SageMaker-Target-Model": latin($("target").value),
        "Content-Type": $("content-type").value,
        Accept: $("accept").value,
      },
      body: $("body").value,
    });
    const text = await response.text();
    const milliseconds = (performance.now() - began).toFixed(1);
    const cold = response.headers.get("X-Medley-Cold") ? ", cold" : "";
    $("timing").textContent = `${response.status} in ${milliseconds} ms${cold}`;
    $("answer").textContent = text.slice(0, 20000);
    $("answer").hidden = false;
  } catch (error) {
    $("timing").textContent = `no answer: ${error.message}`;
  }
  $("send").disabled = false;
}

const latin = (text) => String.fromCharCode(...new TextEncoder().encode(text));

async function give(order, target) {
  const how = { method: "POST", headers: { "Content-Type": "application/json" } };
  const response = await ask(`/manage/${order}`, { ...how, body: JSON.stringify({ target_model: target }) });
  const told = await response.json();
  $("link").textContent = response.ok ? `${order} ${target}: done in ${told.milliseconds} ms` : told.Message;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  const target = button && button.closest("[data-target]");
  if (!target) return;
  if (button.dataset.order) give(button.dataset.order, target.dataset.target);
  if ("fill" in button.dataset) {
    $("target").value = target.dataset.target;
    $("body").focus();
  }
});
$("invoke").addEventListener("submit", invoke);
$("more").addEventListener("click", () => list(false));
$("match").addEventListener("input", () => {
  clearTimeout(list.timer);
  list.timer = setTimeout(() => list(true), 200);
});
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value;
  sessionStorage.setItem("token", token);
  watch();
});
setInterval(() => state.where !== undefined && show(state), 5000); // ages grow though nothing happens
watch();
