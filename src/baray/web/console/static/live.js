// Follows Runs by server-sent events: log, progress, curves; without it a page still shows all that at each reload.
const log = document.getElementById("log");
const bar = document.getElementById("progress");
let asking = false;
let stale = false;

// The server draws: the page asks for itself again and takes what is fresh, never faster than the server answers.
async function refresh() {
  if (asking) {
    stale = true;
    return;
  }
  asking = true;
  const began = performance.now();
  try {
    const answer = await fetch(location.href);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("fresh");
    const old = document.getElementById("fresh");
    const used = old.contains(document.activeElement) && document.activeElement.matches("a");
    if (answer.ok && fresh && old && !used) old.replaceWith(fresh);
  } finally {
    setTimeout(() => {
      asking = false;
      if (stale) {
        stale = false;
        refresh();
      }
    }, Math.max(1000, 10 * (performance.now() - began)));
  }
}

for (const place of document.querySelectorAll("[data-stream]")) {
  const source = new EventSource(place.dataset.stream);
  source.addEventListener("log", (event) => {
    if (place !== log) return;
    const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
    log.append(JSON.parse(event.data).text);
    if (atEnd) log.scrollTop = log.scrollHeight;
  });
  source.addEventListener("progress", (event) => {
    const progress = JSON.parse(event.data);
    if (bar && progress.total) {
      bar.max = progress.total;
      bar.value = progress.done;
    }
  });
  source.addEventListener("metrics", refresh);
  source.addEventListener("end", () => {
    source.close();
    if (place === log) location.reload();
    else refresh();
  });
}
