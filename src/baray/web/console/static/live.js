// Follows a Run's log by server-sent events; without it the page still shows the log at each reload.
const log = document.getElementById("log");
if (log && log.dataset.stream) {
  const bar = document.getElementById("progress");
  const source = new EventSource(log.dataset.stream);
  source.addEventListener("log", (event) => {
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
  source.addEventListener("end", () => {
    source.close();
    location.reload();
  });
}
