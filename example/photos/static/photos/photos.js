// The page of the photo story: starts jobs with Immortus.create, follows each with Immortus.verify.

const WORDS = {
  enqueued: "Waiting",
  running: "Running",
  retrying: "Retrying",
  finished: "Finished",
  failed: "Failed",
  cancelled: "Cancelled",
  lost: "Lost",
  unknown: "Unknown",
};

// Said while a job has no message of its own.
const MESSAGES = {
  enqueued: "Waiting for a worker",
  running: "Working",
  retrying: "That did not work; it will be tried again",
  finished: "Done",
  cancelled: "Stopped, as you asked",
};

// What the error codes mean, where the job brings no sentence of its own.
const ERRORS = {
  error: "Something went wrong. It has been written to the log.",
  time_limit: "It took too long and was stopped.",
  worker_lost: "The process that ran it died.",
  lost: "The worker has been silent for a minute; the job is believed lost.",
  cancelled: MESSAGES.cancelled,
  unknown_job: "This job is not known, or not yours.",
};

const TRANSPORTS = {
  connecting: "Connecting",
  websocket: "Live",
  polling: "Polling",
  idle: "Idle",
};

const $ = (selector, root = document) => root.querySelector(selector);

/** An address that a task has published, if it is of this site; `javascript:` and others are not. */
const ofThisSite = (address) => (new URL(address, location.href).origin === location.origin ? address : "");

/** One job on the page. */
class Card {
  #element;
  #info;
  #title;
  #updates = 0;
  #announced = new Set();
  #preview = null;
  #hung = false;

  constructor(title) {
    this.#title = title;
    this.#element = $("#card").content.firstElementChild.cloneNode(true);
    $("h3", this.#element).textContent = title;
    $("progress", this.#element).ariaLabel = title;
    $(".cancel", this.#element).addEventListener("click", () => this.#cancel());
    $(".message", this.#element).textContent = "Handing it in";
    $("#cards").prepend(this.#element);
    tidy();
  }

  /** Remember which job this is. */
  set info(info) {
    this.#info = info;
    this.#element.dataset.job = info.job_id;
    const link = $("a", this.#element);
    link.hidden = !info.page_url;
    link.href = info.page_url ?? "";
  }

  remove() {
    this.#element.remove();
    tidy();
  }

  reveal() {
    this.#element.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  /** Show a job document; the same for progress, success and failure. */
  show(job) {
    const { state, percentage, error } = job;
    const word = job.stalled ? "Stalled" : job.cancel_requested && state === "running" ? "Cancelling" : WORDS[state];
    const over = !["enqueued", "running", "retrying"].includes(state);
    this.#updates += 1;
    Object.assign(this.#element.dataset, { state: job.stalled ? "stalled" : state, updates: this.#updates });
    Object.assign(this.#element.dataset, { percentage: percentage ?? "", attempt: job.attempt, code: error?.code ?? "" });
    $(".state", this.#element).textContent = word;
    $(".message", this.#element).textContent = sentence(job);
    $(".percentage", this.#element).textContent = percentage == null ? "" : `${Math.floor(percentage)} %`;
    $(".facts", this.#element).textContent = this.#facts(job);
    $(".cancel", this.#element).hidden = over;
    $(".cancel", this.#element).disabled = job.cancel_requested;
    this.#advance(percentage, over);
    if (state !== "enqueued") this.#announce(word, over ? 0 : Math.min(3, Math.floor(percentage / 25)));
    if (job.result?.thumbnail) this.#finish(job.result);
    else if (job.preview) this.#picture(job.preview);
  }

  /** Says the start, each quarter and the end; what the page was loaded with is on it to be read. */
  #announce(word, quarter) {
    const news = quarter ? `${quarter * 25} %` : word;
    if (!this.#announced.has(news) && ready) announce(`${this.#title}: ${news}`);
    this.#announced.add(news);
  }

  #facts({ attempt }) {
    const updates = `${this.#updates} update${this.#updates === 1 ? "" : "s"}`;
    return attempt > 1 ? `attempt ${attempt} · ${updates}` : updates;
  }

  #advance(percentage, over) {
    const bar = $("progress", this.#element);
    if (percentage == null && !over) bar.removeAttribute("value");
    else bar.value = percentage ?? 0;
  }

  /** Swap the picture only once the new one is there, so that it never flickers. */
  async #picture(url) {
    if (url === this.#preview) return;
    this.#preview = url;
    const next = new Image();
    next.src = url;
    try {
      await next.decode();
    } catch {
      return; // A newer one is on its way, or there is none to show.
    }
    if (url !== this.#preview) return;
    const shown = $("img", this.#element);
    shown.src = url;
    shown.alt = `${this.#title}, as far as it is painted`;
    shown.hidden = false;
  }

  #finish({ thumbnail, painting }) {
    this.#picture(thumbnail);
    if (this.#hung) return;
    this.#hung = true;
    const item = document.createElement("li");
    const link = document.createElement("a");
    const image = document.createElement("img");
    Object.assign(link, { href: ofThisSite(painting), target: "_blank", rel: "noopener" });
    Object.assign(image, { src: thumbnail, alt: `${this.#title}, painted`, loading: "lazy" });
    link.append(image);
    item.append(link);
    $("#gallery ul").prepend(item);
    $("#gallery").hidden = false;
  }

  async #cancel() {
    $(".cancel", this.#element).disabled = true;
    try {
      this.show(await Immortus.cancel(this.#info));
    } catch (error) {
      $(".cancel", this.#element).disabled = false;
      complain(error.error?.message ?? "It could not be cancelled.");
    }
  }
}

function sentence({ state, stalled, message, current, total, error, cancel_requested: asked }) {
  if (error) return error.message || ERRORS[error.code] || ERRORS.error;
  if (stalled) return "Nothing heard from the worker for a while";
  if (asked && state === "running") return "Asked to stop";
  if (state === "running") return total ? `${message} · tile ${current} of ${total}` : message || MESSAGES.running;
  return MESSAGES[state];
}

// Starting and following jobs

const followed = new Map();
let ready = false;

function follow(info, card) {
  const finished = (job) => settle(job);
  const inProgress = (job) => card.show(job);
  const failed = (error) => {
    if (error.name === "AbortError") return;
    settle(error);
    if (error.state === "lost") hopeFor(info, card);
  };
  const settle = (job) => {
    followed.delete(card);
    card.show(job.state ? job : { state: "unknown", attempt: 1, error: job.error ?? { code: "unknown_job" } });
  };

  const verifying = Immortus.verify(info, { transport: transport() }).then(finished, failed, inProgress);
  followed.set(card, { info, verifying });
}

/** A lost job may yet turn up: its worker may have been asleep only. */
async function hopeFor(info, card) {
  for await (const job of Immortus.watch(info, { transport: transport() })) card.show(job);
}

function start(url, data, title) {
  const card = new Card(title);
  card.reveal();

  const jobCreated = (info) => {
    card.info = info;
    return info;
  };
  const jobFailedToCreate = ({ body }) => {
    card.remove();
    complain(body?.error?.message ?? "The job could not be started.");
  };

  complain("");
  Immortus.create(url, data)
    .then(jobCreated, jobFailedToCreate)
    .then((info) => follow(info, card));
}

function refollow() {
  for (const [card, { info, verifying }] of [...followed]) {
    verifying.stop();
    follow(info, card);
  }
}

// The page around the jobs

function transport() {
  return $("#switch input:checked").value;
}

function announce(text) {
  const line = document.createElement("p");
  line.textContent = text;
  $("#announcer").append(line);
  setTimeout(() => line.remove(), 10_000);
}

function complain(text) {
  $("#problem").textContent = text;
  $("#problem").hidden = !text;
}

function tidy() {
  const some = $("#cards").childElementCount > 0;
  $("#empty").hidden = some;
  $("#clear").hidden = !some;
}

function upload(file) {
  const data = new FormData();
  data.append("image", file);
  start($("#upload").action, data, file.name);
}

function showJobsSoFar() {
  for (const { title, info, job } of JSON.parse($("#jobs-so-far").textContent).reverse()) {
    const card = new Card(title);
    card.info = info;
    card.show(job);
    if (["enqueued", "running", "retrying"].includes(job.state)) follow(info, card);
    if (job.state === "lost") hopeFor(info, card);
  }
}

window.addEventListener("immortus:transport", ({ detail }) => {
  $("#transport").dataset.transport = detail.transport;
  $("#transport .word").textContent = TRANSPORTS[detail.transport] ?? detail.transport;
});

$("#switch").addEventListener("change", () => {
  sessionStorage.setItem("transport", transport());
  refollow();
});

$("#image").addEventListener("change", ({ target }) => {
  if (target.files.length) upload(target.files[0]);
  target.value = "";
});

for (const kind of ["dragover", "dragleave", "drop"]) {
  $("#upload").addEventListener(kind, (event) => {
    event.preventDefault();
    $("#upload").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) upload(event.dataTransfer.files[0]);
  });
}

for (const button of document.querySelectorAll("[data-sample]")) {
  const title = button.title.split(" · ")[0];
  button.addEventListener("click", () => start($("#upload").action, { sample: button.dataset.sample }, title));
}

const samples = [...document.querySelectorAll("[data-sample]")].map((button) => button.dataset.sample);

document.querySelectorAll("[data-scene]").forEach((button, index) => {
  const title = $(".title", button).textContent;
  const sample = samples[index % 2]; // The cat and the coffee: most of the sky is black.
  button.addEventListener("click", () => start(button.dataset.url, { sample }, title));
});

const remembered = $(`#switch input[value="${sessionStorage.getItem("transport") ?? "auto"}"]`);
if (remembered) remembered.checked = true;
showJobsSoFar();
ready = true;
