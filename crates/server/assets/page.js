// The page's one script: streams answers, opens citations, follows uploads. Without it every form still works.
// Texts from documents and models only ever become text nodes.

const T = JSON.parse(document.getElementById("strings").textContent);
const $ = (id) => document.getElementById(id);
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (all, key) => (key in values ? values[key] : all));
const count = (key, n) => fill(n === 1 && T[key + "_one"] ? T[key + "_one"] : T[key], { n });
document.documentElement.classList.add("lively");

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name.includes("-") || name === "for") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

// ---------------------------------------------------------------- server-sent events over fetch

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    let end;
    while ((end = rest.indexOf("\n\n")) >= 0) {
      const block = rest.slice(0, end);
      rest = rest.slice(end + 2);
      let name = "message";
      let data = "";
      for (const line of block.split("\n")) {
        if (line.startsWith("event: ")) name = line.slice(7);
        else if (line.startsWith("data: ")) data += line.slice(6);
      }
      if (data) yield { name, data: JSON.parse(data) };
    }
  }
}

async function complaint(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return T.error_network;
  }
}

// ---------------------------------------------------------------- citations

function address(citation) {
  const values = new URLSearchParams({ version: citation.version, start: citation.start, end: citation.end });
  return `/document/${encodeURIComponent(citation.document_id)}?${values}#quote`;
}

function where(citation) {
  return citation.page ? fill(T.page, { n: citation.page }) : "";
}

const panel = $("panel");
let opener = null;
let opening = 0;

function closePanel() {
  if (!panel || panel.hidden) return;
  panel.hidden = true;
  $("shade").hidden = true;
  document.body.classList.remove("with-panel");
  if (opener) {
    opener.setAttribute("aria-expanded", "false");
    opener.focus({ preventScroll: true });
    opener = null;
  }
}

async function openPanel(citation, from) {
  const around = 900;
  const mine = ++opening;
  if (opener) opener.setAttribute("aria-expanded", "false");
  opener = from;
  from.setAttribute("aria-expanded", "true");
  $("panel-title").textContent = citation.title;
  $("panel-where").textContent = [where(citation), citation.path.split("/").pop()].filter(Boolean).join(" · ");
  $("panel-link").href = address(citation);
  $("panel-text").textContent = T.panel_loading;
  $("panel-pages").hidden = true;
  panel.hidden = false;
  $("shade").hidden = false;
  document.body.classList.add("with-panel");
  panel.focus({ preventScroll: true });
  const start = Math.max(0, citation.start - around);
  const values = new URLSearchParams({ version: citation.version, start, end: citation.end + around });
  try {
    const response = await fetch(`/api/documents/${encodeURIComponent(citation.document_id)}?${values}`);
    if (!response.ok) throw new Error(response.status);
    const part = await response.json();
    if (mine !== opening) return;
    showPart(part, citation);
    // The text stands already; a page that cannot be shown takes nothing from it.
    if (part.document.format === "pdf") showPages(citation, () => mine === opening).catch(() => {});
  } catch {
    if (mine === opening) $("panel-text").textContent = T.panel_failed;
  }
}

// ---------------------------------------------------------------- pages as they look

// A picture that does not come says why, and the text takes its place.
function watchPicture(figure) {
  const image = figure.querySelector("img");
  const failed = async () => {
    figure.classList.add("missing");
    let code = "";
    try {
      code = (await (await fetch(image.src)).json()).error.code;
    } catch {
      // Without a reason it is said that there is no picture.
    }
    figure.querySelector("figcaption").textContent = code === "file_changed" ? T.picture_changed : T.picture_failed;
  };
  image.addEventListener("error", failed);
  if (image.complete && !image.naturalWidth) failed();
}

for (const figure of document.querySelectorAll("figure.leaf")) watchPicture(figure);

function svg(tag, values, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(values)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function leaf(page, citation) {
  const values = new URLSearchParams({ version: citation.version, width: 1200 });
  const path = `/api/documents/${encodeURIComponent(citation.document_id)}/pages/${page.page}/picture?${values}`;
  const size = { width: Math.round(page.width), height: Math.round(page.height) };
  const image = make("img", { ...size, alt: fill(T.picture_alt, { n: page.page }), src: path });
  const box = { class: "marks", viewBox: `0 0 ${page.width} ${page.height}`, preserveAspectRatio: "none" };
  const marks = svg("svg", { ...box, "aria-hidden": "true" }, ...page.lines.map((line) => svg("rect", line)));
  const caption = make("figcaption", {}, fill(T.picture_caption, { n: page.page }));
  const figure = make("figure", { class: "leaf" }, make("div", { class: "face" }, image, marks), caption);
  watchPicture(figure);
  return figure;
}

async function showPages(citation, isCurrent) {
  const values = new URLSearchParams({ version: citation.version, start: citation.start, end: citation.end });
  const response = await fetch(`/api/documents/${encodeURIComponent(citation.document_id)}/marks?${values}`);
  if (!response.ok || !isCurrent()) return;
  const { pages } = await response.json();
  if (!pages.length || !isCurrent()) return;
  const box = $("panel-pages");
  box.replaceChildren(...pages.slice(0, 4).map((page) => leaf(page, citation)));
  box.hidden = false;
  const rect = box.querySelector("rect");
  const place = rect.getBoundingClientRect();
  box.scrollTop += place.top - box.getBoundingClientRect().top - box.clientHeight / 3;
  scrollToQuote();
}

function scrollToQuote() {
  const box = $("panel-text");
  const quote = $("panel-quote");
  if (quote) box.scrollTop = quote.offsetTop - box.offsetTop - box.clientHeight / 3;
}

function showPart(part, citation) {
  // Positions count characters, not the script's 16-bit units.
  const characters = Array.from(part.text);
  const text = (a, b) => characters.slice(Math.max(0, a - part.start), Math.max(0, b - part.start)).join("");
  const box = $("panel-text");
  box.textContent = "";
  if (part.start > 0) box.append("… ");
  const starts = part.pages.filter((p) => p.start > part.start && p.start < part.end).map((p) => [p.start, p.page]);
  const cuts = [...new Set([part.start, ...starts.map(([at]) => at), citation.start, citation.end, part.end])];
  cuts.sort((a, b) => a - b);
  let first = true;
  cuts.forEach((at, i) => {
    const page = starts.find(([start]) => start === at);
    if (page) box.append(make("span", { class: "break" }, fill(T.page, { n: page[1] })));
    if (i + 1 === cuts.length) return;
    const piece = text(at, cuts[i + 1]);
    if (at >= citation.start && at < citation.end) {
      const mark = make("mark", {}, piece);
      if (first) mark.id = "panel-quote";
      first = false;
      box.append(mark);
    } else {
      box.append(piece);
    }
  });
  if (part.end < part.document.chars) box.append(" …");
  scrollToQuote();
}

function chip(citation, index) {
  const title = [fill(T.source, { n: index + 1 }), citation.title, where(citation)].filter(Boolean).join(", ");
  const link = make("a", { class: "chip", href: address(citation), title, "aria-label": title }, String(index + 1));
  return opens(link, citation);
}

function opens(link, citation) {
  link.setAttribute("aria-expanded", "false");
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    openPanel(citation, link);
  });
  return link;
}

// ---------------------------------------------------------------- asking

const form = $("ask");
const history = form ? JSON.parse($("history").value || "[]") : [];
let running = null;

function badge(kind, text) {
  return make("span", { class: `badge ${kind}` }, text);
}

function sentence(item, citations) {
  const chips = item.citations.filter((i) => citations[i]).map((i) => chip(citations[i], i));
  return make("span", { class: "sentence" }, item.text, ...chips);
}

function sources(citations) {
  const items = citations.map((citation) => {
    const title = opens(make("a", { href: address(citation) }, citation.title), citation);
    const page = where(citation);
    const marks = [];
    if (page) marks.push(make("span", { class: "where" }, page));
    if (citation.holds === false) marks.push(make("span", { class: "where expired" }, T.not_in_force));
    return make("li", {}, title, ...marks, make("q", {}, citation.quote));
  });
  return make("details", { class: "sources", open: true }, make("summary", {}, T.sources), make("ol", {}, ...items));
}

function refusal(value) {
  const box = make("div", { class: "refusal" }, make("p", {}, value.reason));
  if (value.nearest.length) {
    const link = (near) => make("a", { href: `/document/${encodeURIComponent(near.document_id)}` }, near.title);
    box.append(make("h3", {}, T.nearest), make("ul", {}, ...value.nearest.map((near) => make("li", {}, link(near)))));
  }
  box.append(make("p", { class: "quiet" }, T.refusal_help));
  return box;
}

function finish(box, answer) {
  box.dataset.outcome = answer.outcome;
  const badges = [badge(`outcome-${answer.outcome}`, T["outcome_" + answer.outcome])];
  if (answer.sentences.length) badges.push(badge("mode", T["mode_" + answer.mode]));
  const text = box.querySelector(".sentences");
  text.replaceChildren(...answer.sentences.flatMap((item) => [sentence(item, answer.citations), " "]));
  box.querySelector(".progress").remove();
  box.prepend(make("p", { class: "badges" }, ...badges));
  if (answer.refusal) box.append(refusal(answer.refusal));
  if (answer.citations.length) box.append(sources(answer.citations));
  for (const note of answer.notes) box.append(make("p", { class: "note" }, note));
  const seconds = (ms) => (ms / 1000).toFixed(1);
  const timing = fill(T.timing, { first: seconds(answer.ms.first), total: seconds(answer.ms.total) });
  box.append(make("p", { class: "timing" }, timing));
}

function fail(box, message) {
  box.dataset.outcome = "error";
  const progress = box.querySelector(".progress");
  if (progress) {
    progress.className = "progress still";
    progress.textContent = message;
  } else {
    box.append(make("p", { class: "note" }, message));
  }
}

// Which documents are looked at: those that hold today, unless somebody asks for others.
function days() {
  return { include_expired: $("include-expired").checked, as_of: $("as-of").value || null };
}

async function answer(question, box, signal) {
  const progress = box.querySelector(".progress");
  const text = box.querySelector(".sentences");
  const citations = [];
  progress.textContent = T.searching;
  const response = await fetch("/api/ask", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ question, history: history.slice(-6), extractive: $("extractive").checked, ...days(), stream: true }),
    signal,
  });
  if (!response.ok) return fail(box, await complaint(response));
  for await (const { name, data } of events(response)) {
    if (name === "retrieved") progress.textContent = count("found", data.passages);
    else if (name === "writing") progress.textContent = fill(T.writing, { n: data.tokens });
    else if (name === "sentence") {
      citations.push(...data.citations);
      text.append(sentence(data.sentence, citations), " ");
    } else if (name === "done") {
      finish(box, data);
      const said = data.sentences.map((item) => item.text).join(" ") || data.refusal?.reason || "";
      history.push({ question, answer: said });
      return;
    } else if (name === "error") {
      return fail(box, data.error.message);
    }
  }
  fail(box, T.error_network);
}

async function ask(question) {
  $("hero").hidden = true;
  $("new").hidden = false;
  const turn = $("turn-template").content.cloneNode(true).querySelector("article");
  turn.querySelector(".question").textContent = question;
  const box = turn.querySelector(".answer");
  $("conversation").append(turn);
  turn.scrollIntoView({ behavior: "smooth", block: "start" });
  running = new AbortController();
  const send = $("send");
  send.textContent = T.stop;
  send.classList.add("halt");
  try {
    await answer(question, box, running.signal);
  } catch (error) {
    fail(box, error.name === "AbortError" ? T.stopped : T.error_network);
  }
  running = null;
  send.textContent = T.ask;
  send.classList.remove("halt");
}

if (form) {
  const field = $("question");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) return running.abort();
    const question = field.value.trim();
    if (!question) return;
    field.value = "";
    closePanel();
    ask(question);
  });
  field.addEventListener("keydown", (event) => {
    // While Hangul is being composed, Enter ends the syllable and does not send.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    if (!running) form.requestSubmit();
  });
  $("panel-close").addEventListener("click", closePanel);
  $("shade").addEventListener("click", closePanel);
  document.addEventListener("keydown", (event) => event.key === "Escape" && closePanel());
  if (matchMedia("(pointer: fine)").matches) field.focus({ preventScroll: true });
}

// ---------------------------------------------------------------- uploads

const upload = $("upload");

function jobRow(key, name) {
  let row = document.querySelector(`#jobs li[data-job="${CSS.escape(String(key))}"]`);
  if (!row) {
    row = make("li", { "data-job": String(key) }, make("span", { class: "name" }, name), make("span", { class: "state" }));
    $("jobs").prepend(row);
    $("jobs-box").hidden = false;
  }
  return row;
}

function showJob(row, state, text, reason) {
  row.dataset.state = state;
  row.querySelector(".state").textContent = text;
  if (state !== "uploading") row.querySelector("progress")?.remove();
  row.querySelector(".reason")?.remove();
  if (reason) row.append(make("span", { class: "reason" }, reason));
}

function showServerJob(job) {
  const row = jobRow(job.id, job.name);
  const share = job.files > 1 && job.state === "running" ? ` ${job.files_done}/${job.files}` : "";
  showJob(row, job.state, T["job_" + job.state] + share, job.reason);
  if (job.state === "done") refreshDocuments();
}

let uploads = 0;

function send(file) {
  const row = jobRow(`upload-${++uploads}`, file.name);
  const bar = make("progress", { max: 1, value: 0 });
  row.append(bar);
  showJob(row, "uploading", fill(T.job_uploading, { n: 0 }));
  const body = new FormData();
  body.append("files", file, file.name);
  const request = new XMLHttpRequest();
  request.open("POST", "/api/documents");
  request.responseType = "json";
  request.upload.addEventListener("progress", (event) => {
    bar.value = event.total ? event.loaded / event.total : 0;
    showJob(row, "uploading", fill(T.job_uploading, { n: Math.floor(bar.value * 100) }));
  });
  return new Promise((resolve) => {
    request.addEventListener("loadend", () => {
      const jobs = request.response?.jobs;
      if (request.status === 202 && jobs) {
        // The watcher may have shown the job already; its row stays, this one goes.
        const known = document.querySelector(`#jobs li[data-job="${jobs[0].id}"]`);
        if (known) row.remove();
        else {
          row.dataset.job = jobs[0].id;
          showServerJob(jobs[0]);
        }
      } else {
        showJob(row, "failed", T.job_failed, request.response?.error?.message ?? T.error_network);
      }
      resolve();
    });
    request.send(body);
  });
}

async function sendAll(files) {
  // One after the other: the disk is the bottleneck, and the order stays.
  for (const file of files) await send(file);
}

function validityOf(d) {
  const today = $("documents").dataset.today;
  if (d.valid_from > today) return make("span", { class: "expired" }, fill(T.holds_from, { n: d.valid_from }));
  if (d.valid_until && d.valid_until < today) {
    return make("span", { class: "expired" }, fill(T.held_until, { n: d.valid_until }));
  }
  return d.valid_until ? make("span", {}, fill(T.holds_until, { n: d.valid_until })) : null;
}

function documentRow(d) {
  const path = `/documents/${encodeURIComponent(d.document_id)}/delete`;
  const meta = [make("span", { class: "format" }, d.format)];
  if (d.pages) meta.push(make("span", {}, count("pages", d.pages)));
  meta.push(make("span", {}, count("passages", d.passages)));
  const validity = validityOf(d);
  if (validity) meta.push(validity);
  meta.push(make("span", { class: "path", title: d.path }, d.path.split("/").pop()));
  const title = make("a", { class: "title", href: `/document/${encodeURIComponent(d.document_id)}` }, d.title);
  const remove = make("form", { method: "post", action: path }, make("button", { class: "danger" }, T.delete_confirm));
  return make(
    "li",
    {},
    make("div", { class: "about" }, title, make("p", { class: "meta" }, ...meta)),
    make("details", { class: "delete" }, make("summary", {}, T.delete), remove),
  );
}

let refreshing = false;

async function refreshDocuments() {
  if (refreshing || document.querySelector(".delete[open]")) return;
  refreshing = true;
  try {
    const response = await fetch("/api/documents");
    if (response.ok) $("documents").replaceChildren(...(await response.json()).documents.map(documentRow));
  } catch {
    // The list stays as it is; the next finished job tries again.
  }
  refreshing = false;
}

if (upload) {
  const files = $("files");
  files.addEventListener("change", () => {
    sendAll([...files.files]);
    files.value = "";
  });
  const carries = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => !event.relatedTarget && document.body.classList.remove("dropping"));
  addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    if (!carries(event)) return;
    event.preventDefault();
    sendAll([...event.dataTransfer.files]);
  });
  const watcher = new EventSource("/api/jobs/events");
  watcher.addEventListener("job", (event) => showServerJob(JSON.parse(event.data)));
}

// ---------------------------------------------------------------- the lamp

const lamp = $("status");

async function watchModel() {
  while (lamp?.dataset.state === "starting") {
    await new Promise((resolve) => setTimeout(resolve, 2000));
    try {
      const status = await (await fetch("/api/status")).json();
      lamp.dataset.state = status.generation;
      $("status-text").textContent = fill(T["status_" + status.generation], { n: status.model ?? "" });
    } catch {
      // Looked at again in two seconds.
    }
  }
}

watchModel();
