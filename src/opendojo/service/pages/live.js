// Keeps a job's page, or the list of jobs, up to date; without it the pages reload by themselves.
"use strict";
const get = (id) => document.getElementById(id);
const MOST = 400000; // letters of log kept on the page

function followJob(job) {
  const box = get("log");
  get("live").hidden = false;
  get("follow-box").hidden = false;
  const down = () => { if (get("follow").checked) box.scrollTop = box.scrollHeight; };
  down();
  const source = new EventSource(job.dataset.live);
  source.addEventListener("state", (event) => {
    const told = JSON.parse(event.data), line = document.createElement("li");
    const when = document.createElement("time"), state = document.createElement("span");
    when.textContent = new Date(told.at_ms).toISOString().slice(0, 19).replace("T", " ");
    state.className = "state " + told.state;
    state.textContent = told.state;
    line.append(when, " ", state, " " + told.text);
    get("events").append(line);
    get("state").className = "state " + told.state;
    get("state").textContent = told.state;
    get("attempt").textContent = told.attempt;
    const why = get("why");
    if (why && told.state !== "queued") why.remove();
  });
  source.addEventListener("log", (event) => {
    const told = JSON.parse(event.data), shown = get("log-attempt");
    if (shown.textContent !== String(told.attempt)) {
      shown.textContent = told.attempt;
      box.textContent = "";
    }
    box.append(told.text);
    if (box.textContent.length > MOST) box.textContent = box.textContent.slice(-MOST / 2);
    down();
  });
  source.addEventListener("charts", (event) => {
    get("charts").innerHTML = JSON.parse(event.data); // drawn and escaped by the server
    get("no-charts").hidden = event.data !== '""';
  });
  source.addEventListener("end", () => {
    source.close();
    get("live").hidden = true;
    const cancel = get("cancel");
    if (cancel) cancel.remove();
  });
}

function freshList(box) {
  box.hidden = get("fresh-name").hidden = false;
  box.checked = sessionStorage.getItem("fresh") !== "no";
  box.addEventListener("change", () => sessionStorage.setItem("fresh", box.checked ? "yes" : "no"));
  setInterval(async () => {
    if (!box.checked || document.hidden) return;
    const reply = await fetch(location.href).catch(() => null);
    if (!reply || !reply.ok) return;
    const page = new DOMParser().parseFromString(await reply.text(), "text/html");
    for (const id of ["counts", "list"]) {
      const now = page.getElementById(id), old = get(id);
      if (!now || now.innerHTML === old.innerHTML || old.contains(document.activeElement)) continue;
      old.innerHTML = now.innerHTML;
    }
  }, 3000);
}

if (get("job") && get("job").dataset.live) followJob(get("job"));
if (get("fresh")) freshList(get("fresh"));
if (get("plan")) get("plan").scrollIntoView({ block: "nearest" });
