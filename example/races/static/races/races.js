// The page of the marathons: each race that is not over is followed by its job's uuid.

const WORDS = { enqueued: "waiting" };

function follow(card) {
  const { jobUuid } = card.dataset;
  const kill = card.querySelector(".cancel");

  function show(data) {
    card.dataset.state = data.stalled ? "stalled" : data.state;
    card.querySelector(".state").textContent = WORDS[card.dataset.state] ?? card.dataset.state;
    card.querySelector("progress").value = data.miles_run ?? 0;
    for (const place of card.querySelectorAll("[data-metric]")) {
      place.textContent = data[place.dataset.metric] ?? place.textContent;
    }
    if (data.message) say(data.message);
  }

  function say(text) {
    card.querySelector(".message").textContent = text;
  }

  JobState.startPolling({
    jobUuid,
    pollingPeriod: 500, // where no socket gets through
    update: show,
    success(data) {
      show(data);
      location.reload();
    },
    error(data) {
      show(data);
      say(data.error.message);
      kill.hidden = true;
    },
  });

  kill.hidden = false;
  kill.addEventListener("click", () => {
    kill.disabled = true;
    JobState.killJob(jobUuid).catch((failure) => say(failure.message));
  });
}

document.querySelectorAll("[data-job-uuid]").forEach(follow);
