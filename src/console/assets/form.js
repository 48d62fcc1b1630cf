// The form of a new connection: shows the fields of the chosen type, sends what was filled in, and
// tells what came of it. Nothing is kept: values that are typed in to try it leave with the page.
"use strict";

(() => {
  const form = document.getElementById("new-connection");
  if (!form) return;
  const byId = (id) => document.getElementById(id);
  const parts = (within, name) => [...within.querySelectorAll(`[data-part="${name}"]`)];
  const part = (within, name) => within.querySelector(`[data-part="${name}"]`);
  const type = byId("f-type");
  const summary = byId("form-errors");

  // What is shown.

  function showType() {
    for (const group of form.querySelectorAll("[data-auth]")) {
      const chosen = group.dataset.auth === type.value;
      group.hidden = !chosen;
      group.disabled = !chosen;
    }
  }

  // What a secret's source asks for.
  function showSource(holder) {
    const source = part(holder, "source").value;
    const value = part(holder, "value");
    const label = form.querySelector(`label[for="${value.id}"]`);
    const words = {
      env: "Name of the environment variable",
      file: "Path, where keybearer runs",
      text: "Text",
    };
    const empty = source === "empty";
    for (const element of [value, label]) element.hidden = empty;
    label.textContent = words[source] || "";
    const written = empty || source === "text";
    part(holder, "format-box").hidden = written;
    const trial = part(holder, "trial");
    for (const element of [trial, form.querySelector(`label[for="${trial.id}"]`)]) {
      element.hidden = written;
    }
    value.placeholder = source === "env" ? suggestion(holder) : "";
  }

  // A name for the variable, as a person would choose it.
  function suggestion(holder) {
    const field = holder.closest("[data-field]").dataset.field;
    const rowName = part(holder, "name");
    const last = (rowName && rowName.value) || field.split(".").pop();
    const word = (text) => text.replace(/[^A-Za-z0-9]+/g, "_").replace(/^_+|_+$/g, "").toUpperCase();
    const words = [word(byId("f-name").value), word(last)].filter(Boolean).join("_");
    return /^[0-9]/.test(words) ? `_${words}` : words;
  }

  const holders = () => parts(form, "source").map((source) => source.closest('[data-part="row"], [data-field]'));

  let rowsMade = 0;

  function addRow(group) {
    const made = byId("row-template").content.cloneNode(true);
    const row = part(made, "row");
    const id = `row-${++rowsMade}`;
    const described = group.getAttribute("aria-describedby");
    for (const element of row.querySelectorAll("[id]")) element.id = element.id.replace(/^row/, id);
    for (const element of row.querySelectorAll("label")) element.htmlFor = element.htmlFor.replace(/^row/, id);
    for (const element of [row, ...row.querySelectorAll("[aria-describedby]")]) {
      element.setAttribute("aria-describedby", described);
    }
    part(group, "rows").append(row);
    showSource(row);
    part(row, "name").focus();
  }

  form.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-part]");
    if (!button) return;
    const group = button.closest("[data-field]");
    if (button.dataset.part === "add") addRow(group);
    if (button.dataset.part === "remove") {
      button.closest('[data-part="row"]').remove();
      part(group, "add").focus();
    }
  });

  form.addEventListener("change", (event) => {
    if (event.target === type) showType();
    if (event.target.dataset.part === "source") {
      showSource(event.target.closest('[data-part="row"], [data-field]'));
    }
    if (event.target.id === "f-name" || event.target.dataset.part === "name") holders().forEach(showSource);
  });

  // What is sent.

  function put(object, path, value) {
    const keys = path.split(".");
    const last = keys.pop();
    let at = object;
    for (const key of keys) at = at[key] ??= {};
    // A name may be any text, `__proto__` too.
    Object.defineProperty(at, last, { value, enumerable: true, configurable: true, writable: true });
  }

  // Where a secret is; undefined if nothing was filled in.
  function secretOf(holder) {
    const source = part(holder, "source").value;
    const text = part(holder, "value").value.trim();
    const typed = part(holder, "trial").value;
    if (source === "empty") return "";
    if (source === "text") return text === "" ? undefined : text;
    if (text === "" && typed === "") return undefined;
    const secret = { [source]: text || (source === "env" ? suggestion(holder) : "") };
    const format = part(holder, "format").value;
    if (format !== "") secret.format = format;
    return secret;
  }

  function valueOf(values, key, holder) {
    const trial = part(holder, "trial");
    if (!trial.hidden && trial.value !== "") values[key] = trial.value;
  }

  function read() {
    const sent = { name: byId("f-name").value.trim(), auth: { type: type.value } };
    const values = {};
    for (const field of form.querySelectorAll("[data-field]")) {
      const key = field.dataset.field;
      const group = field.closest("[data-auth]");
      if (key === "name" || key === "auth.type" || (group && group.disabled)) continue;
      const text = () => part(field, "value").value.trim();
      switch (field.dataset.input) {
        case "text":
        case "choice":
          if (text() !== "") put(sent, key, text());
          break;
        case "list":
        case "one-or-more": {
          const lines = text().split("\n").map((line) => line.trim()).filter(Boolean);
          const isOne = field.dataset.input === "one-or-more" && lines.length === 1;
          if (lines.length > 0) put(sent, key, isOne ? lines[0] : lines);
          break;
        }
        case "file":
          if (text() !== "") {
            put(sent, key, text());
            valueOf(values, key, field);
          }
          break;
        case "secret": {
          const secret = secretOf(field);
          if (secret !== undefined) {
            put(sent, key, secret);
            if (typeof secret === "object") valueOf(values, key, field);
          }
          break;
        }
        case "secrets": {
          const rows = {};
          for (const row of parts(field, "row")) {
            const name = part(row, "name").value.trim();
            const secret = secretOf(row);
            if (name === "" && secret === undefined) continue;
            Object.defineProperty(rows, name, { value: secret ?? "", enumerable: true, configurable: true });
            if (typeof secret === "object") valueOf(values, `${key}.${name}`, row);
          }
          if (Object.keys(rows).length > 0) put(sent, key, rows);
          break;
        }
      }
    }
    // A user name that is filled in, or a password, needs the other one, which may be empty.
    if (type.value === "basic" && sent.auth.username === undefined) sent.auth.username = "";
    return { sent, values };
  }

  const proof = document.querySelector('meta[name="csrf-token"]');

  async function send(path, content) {
    const headers = { "Content-Type": "application/json" };
    if (proof) headers["X-CSRF-Token"] = proof.content;
    const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(content) });
    const told = await answer.json().catch(() => ({}));
    return { answer, told };
  }

  // A restart of keybearer, or another session, makes the page's proof void: what was filled in stays, and
  // only the proof is fetched anew.
  async function post(path, content) {
    const sent = await send(path, content);
    if (sent.answer.status === 401) {
      sent.told.detail = "The session has ended. Log in in another tab, then try again: what is filled in here stays.";
      return sent;
    }
    if (sent.answer.status !== 403 || !proof) return sent;
    const page = await fetch(location.href);
    const anew = new DOMParser().parseFromString(await page.text(), "text/html");
    const { content: token } = anew.querySelector('meta[name="csrf-token"]') ?? {};
    if (!page.ok || !token || token === proof.content) return sent;
    proof.content = token;
    return send(path, content);
  }

  // What is told.

  function fieldOf(path) {
    if (!path) return null;
    const fields = [...form.querySelectorAll("[data-field]")].filter((field) => {
      const group = field.closest("[data-auth]");
      return !(group && group.disabled);
    });
    const fits = (field) => path === field.dataset.field || path.startsWith(`${field.dataset.field}.`);
    return fields.filter(fits).sort((a, b) => b.dataset.field.length - a.dataset.field.length)[0] || null;
  }

  // The controls that an error is about: those of one entry, or all of the field's.
  function controlsOf(field, path) {
    const rest = path.slice(field.dataset.field.length + 1);
    const rows = parts(field, "row").filter((row) => rest && part(row, "name").value.trim() === rest);
    const within = rows[0] || field;
    return ["value", "name"].flatMap((name) => parts(within, name)).filter((control) => !control.hidden);
  }

  function clear() {
    summary.replaceChildren();
    for (const error of parts(form, "error")) error.textContent = "";
    for (const control of form.querySelectorAll("[aria-invalid]")) control.removeAttribute("aria-invalid");
  }

  function element(name, text) {
    const made = document.createElement(name);
    made.textContent = text;
    return made;
  }

  const sentence = (told) => (told.hint ? `${told.message} (${told.hint})` : told.message);

  function showErrors(title, errors) {
    const list = document.createElement("ul");
    const order = [...form.querySelectorAll("[data-field]")];
    const found = errors.map((told) => ({ told, field: fieldOf(told.field) }));
    // In the order of the form; what is about no field of it comes first.
    found.sort((a, b) => order.indexOf(a.field) - order.indexOf(b.field));
    for (const { told, field } of found) {
      const item = document.createElement("li");
      if (!field) {
        item.textContent = sentence(told);
      } else {
        const controls = controlsOf(field, told.field);
        for (const control of controls) control.setAttribute("aria-invalid", "true");
        const error = [...parts(field, "error")].pop();
        error.textContent = [error.textContent, sentence(told)].filter(Boolean).join(" ");
        for (let box = field.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
        const label = field.querySelector("legend, label").firstChild.textContent.trim();
        const link = element("a", `${label}: ${sentence(told)}`);
        const target = controls[0];
        if (target) {
          link.href = `#${target.id}`;
          link.addEventListener("click", (event) => {
            event.preventDefault();
            target.focus();
          });
        }
        item.append(link);
      }
      list.append(item);
    }
    summary.replaceChildren(element("h2", title), ...(errors.length > 0 ? [list] : []));
    summary.focus();
  }

  function showTrial(trial) {
    const box = byId("result-trial");
    box.hidden = !trial;
    if (!trial) return;
    const status = trial.status === undefined ? "" : `, answered with ${trial.status}`;
    part(box, "summary").textContent = `${trial.method} ${trial.url}${status}`;
    const rows = trial.phases.map((phase) => {
      const row = document.createElement("tr");
      row.append(element("td", phase.phase), element("td", `${phase.milliseconds} ms`), element("td", phase.outcome));
      return row;
    });
    box.querySelector("tbody").replaceChildren(...rows);
    const injected = trial.injected.length > 0 ? `Added: ${trial.injected.join(", ")}` : "";
    part(box, "injected").textContent = injected;
    part(box, "failure").textContent = trial.failure || "";
  }

  function showResult(told, status) {
    byId("result").hidden = false;
    byId("result-status").textContent = status;
    byId("result-toml").textContent = told.toml;
    byId("copied").textContent = "";
    const missing = byId("result-missing");
    missing.hidden = told.missing.length === 0;
    missing.querySelector("ul").replaceChildren(...told.missing.map((it) => element("li", sentence(it))));
    showTrial(told.trial);
  }

  function verdict(told) {
    const tried = told.trial;
    const lines = [];
    if (told.errors.length > 0) lines.push("It is not complete yet.");
    else if (!tried) lines.push("It is valid.");
    else if (tried.failure) lines.push("It is valid, but the trial failed.");
    else lines.push("It is valid, and the API answered.");
    if (told.not_tried) lines.push(`It was not tried: ${told.not_tried}.`);
    return [...lines, ...told.warnings].join(" ");
  }

  async function submit(action) {
    clear();
    const { sent, values } = read();
    if (action === "write") {
      const { answer, told } = await post("./api/connections", sent);
      if (answer.status === 201) {
        location.assign(`.${answer.headers.get("Location")}`);
        return;
      }
      showErrors(told.detail || `The console answered ${answer.status}`, told.errors || []);
      return;
    }
    const content = { ...sent, values };
    if (action === "try") {
      content.trial = {};
      if (byId("f-method").value !== "") content.trial.method = byId("f-method").value;
      if (byId("f-path").value !== "") content.trial.path = byId("f-path").value;
    }
    const { answer, told } = await post("./api/drafts", content);
    if (!answer.ok) {
      showErrors(told.detail || `The console answered ${answer.status}`, told.errors || []);
      return;
    }
    showResult(told, verdict(told));
    if (told.errors.length > 0) showErrors("Mend these, and check again:", told.errors);
    else byId("result-title").focus();
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const action = event.submitter ? event.submitter.value : "check";
    form.setAttribute("aria-busy", "true");
    const buttons = [...form.querySelectorAll('button[type="submit"]')];
    for (const button of buttons) button.disabled = true;
    try {
      await submit(action);
    } catch (error) {
      showErrors(`The console does not answer: ${error.message}`, []);
    } finally {
      for (const button of buttons) button.disabled = false;
      form.removeAttribute("aria-busy");
    }
  });

  byId("copy").addEventListener("click", async () => {
    const toml = byId("result-toml");
    let done = "Copied";
    try {
      await navigator.clipboard.writeText(toml.textContent);
    } catch {
      // Without TLS browsers give no clipboard: select it, for the person to copy.
      getSelection().selectAllChildren(toml);
      done = "Selected: copy it with the keyboard";
    }
    byId("copied").textContent = done;
  });

  holders().forEach(showSource);
  showType();
})();
