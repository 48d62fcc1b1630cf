// Keeps a page up to date, and does what its buttons say. Everything can be read without it.
'use strict';

const body = document.body;
const csrf = () => document.querySelector('meta[name="csrf-token"]').content;

// A change is asked for with the proof that this page asks; an answer that is no success is an error
// in the words of its problem details (RFC 9457).
async function change(method, url, content) {
  const answer = await fetch(url, {
    method,
    headers: { 'Content-Type': 'application/json', 'X-CSRF-Token': csrf() },
    body: content && JSON.stringify(content),
  });
  const text = await answer.text();
  let told = {};
  try {
    told = JSON.parse(text);
  } catch {
    // What is no JSON tells nothing more.
  }
  if (answer.status === 401) {
    location.reload();
  }
  if (!answer.ok) {
    const error = new Error(told.detail ?? `keybearer answered ${answer.status}`);
    error.told = told;
    throw error;
  }
  return told;
}

function element(name, text, ...inside) {
  const made = document.createElement(name);
  if (text !== undefined) {
    made.textContent = text;
  }
  made.append(...inside);
  return made;
}

window.keybearer = { change, element };

// --- Live regions ---

const live = document.getElementById('live');

// Puts in what has changed; what a person has selected or focused stays so.
function update(changed) {
  for (const [id, inside] of Object.entries(changed)) {
    const region = document.getElementById(id);
    if (!region) {
      continue;
    }
    const focusable = () => [...region.querySelectorAll('a, button, [tabindex]')];
    const scrolled = () => [...region.querySelectorAll('.scroll')];
    const focused = region.contains(document.activeElement) ? document.activeElement : null;
    const place = focused && focusable().indexOf(focused);
    const { id: name } = focused ?? {};
    const lefts = scrolled().map((box) => box.scrollLeft);
    region.innerHTML = inside;
    scrolled().forEach((box, index) => { box.scrollLeft = lefts[index] ?? 0; });
    if (focused) {
      const again = name ? document.getElementById(name) : focusable()[place];
      again?.focus({ preventScroll: true });
    }
  }
}

let waiting = {};

function isSelecting() {
  const selection = document.getSelection();
  return selection && !selection.isCollapsed && document.getElementById('main').contains(selection.anchorNode);
}

function arrived({ banner, ...changed }) {
  // What is wrong does not wait.
  if (banner !== undefined) {
    update({ banner });
  }
  Object.assign(waiting, changed);
  if (!isSelecting()) {
    const all = waiting;
    waiting = {};
    update(all);
  }
}

document.addEventListener('selectionchange', () => {
  if (Object.keys(waiting).length > 0) {
    arrived({});
  }
});

let version;
let events;
let alarm;

// Not heard of: for a moment that is nothing, as streams end after a while and begin anew.
function missed() {
  alarm ??= setTimeout(() => { live.textContent = 'keybearer is not reachable; trying again'; }, 4000);
}

function follow(url) {
  events = new EventSource(url);
  events.addEventListener('hello', (event) => {
    clearTimeout(alarm);
    alarm = undefined;
    const told = JSON.parse(event.data);
    document.querySelector('meta[name="csrf-token"]').content = told.csrf;
    // Another version has other pages.
    if (version && version !== told.version) {
      location.reload();
    }
    version = told.version;
    // Said once: it is read out.
    if (live.textContent !== 'Live') {
      live.textContent = 'Live';
    }
  });
  events.addEventListener('update', (event) => arrived(JSON.parse(event.data)));
  events.addEventListener('error', async () => {
    missed();
    if (events.readyState !== EventSource.CLOSED) {
      return;
    }
    // It answered with something else: perhaps it wants to know who asks.
    events.close();
    const answer = await fetch(url, { method: 'HEAD' }).catch(() => undefined);
    if (answer?.status === 401) {
      location.reload();
    } else {
      setTimeout(look, 2000);
    }
  });
}

// A browser has six connections for us, and each page that is followed takes one: those that nobody looks
// at give theirs back.
function look() {
  if (document.hidden) {
    events?.close();
    clearTimeout(alarm);
    alarm = undefined;
  } else if (!events || events.readyState === EventSource.CLOSED) {
    follow(body.dataset.events);
  }
}

if (body.dataset.events) {
  document.addEventListener('visibilitychange', look);
  look();
}

// --- Buttons ---

document.addEventListener('click', async (event) => {
  const button = event.target.closest('button[data-copy]');
  if (!button) {
    return;
  }
  const told = button.nextElementSibling;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = 'Copied';
    told.textContent = 'Copied';
  } catch {
    // Without leave to write the clipboard, the text is selected: a key copies it.
    document.getSelection().selectAllChildren(button.previousElementSibling);
    button.textContent = 'Selected';
    told.textContent = 'Selected: copy it with the keyboard';
  }
  setTimeout(() => {
    button.textContent = 'Copy';
    told.textContent = '';
  }, 2000);
});

document.addEventListener('click', async (event) => {
  const forget = event.target.closest('#forget');
  if (!forget || !confirm('Forget the tokens of this connection? Somebody has to link it again.')) {
    return;
  }
  let told = 'The tokens are forgotten.';
  try {
    await change('DELETE', forget.dataset.api);
  } catch (error) {
    told = error.message;
  }
  document.getElementById('forgotten').textContent = told;
});

const rotate = document.getElementById('rotate');
rotate?.addEventListener('submit', async (event) => {
  event.preventDefault();
  const overlap = rotate.elements.overlap.value;
  if (overlap === '0s' && !confirm('End this URL at once? Whoever still sends to it is refused.')) {
    return;
  }
  const button = rotate.querySelector('button');
  const told = document.getElementById('rotated');
  button.disabled = true;
  try {
    await change('POST', rotate.dataset.api, { overlap });
    told.textContent = 'The URL above is new: give it to the sender.';
  } catch (error) {
    told.textContent = error.message;
  }
  button.disabled = false;
});

document.getElementById('replay')?.addEventListener('click', async ({ target: button }) => {
  const told = document.getElementById('replayed');
  button.disabled = true;
  told.textContent = '';
  try {
    await change('POST', button.dataset.api);
    told.textContent = 'It is delivered again; what comes of it stands above.';
  } catch (error) {
    told.textContent = error.message;
  }
  button.disabled = false;
  button.focus();
});

function shown(trial) {
  const parts = [];
  const failed = trial.failure !== undefined;
  const status = trial.status === undefined ? '' : `${trial.status}: `;
  const verdict = element('p', `${status}${failed ? trial.failure : 'it works'}`);
  verdict.className = failed ? 'problem' : '';
  verdict.id = 'verdict';
  const phases = trial.phases.map((step) =>
    element('li', `${step.phase}: ${step.outcome} (${step.milliseconds.toFixed(1)} ms)`));
  parts.push(verdict, element('ol', undefined, ...phases));
  if (trial.injected.length > 0) {
    parts.push(element('p', `Injected: ${trial.injected.join(', ')}`));
  }
  if (trial.clock_offset !== undefined && trial.clock_offset !== 0) {
    parts.push(element('p', `The upstream's clock is off by ${trial.clock_offset} s.`));
  }
  if (trial.link !== undefined) {
    const link = element('a', 'Link your account');
    link.href = trial.link;
    parts.push(element('p', undefined, link));
  }
  return parts;
}

window.keybearer.shown = shown;

const trial = document.getElementById('trial');
trial?.addEventListener('submit', async (event) => {
  event.preventDefault();
  const outcome = document.getElementById('outcome');
  const button = trial.querySelector('button');
  const { method, path } = trial.elements;
  button.disabled = true;
  outcome.replaceChildren(element('p', 'Testing…'));
  try {
    const told = await change('POST', trial.dataset.api, { method: method.value, path: path.value });
    outcome.replaceChildren(...shown(told));
  } catch (error) {
    const told = element('p', error.message);
    told.className = 'problem';
    outcome.replaceChildren(told);
  }
  button.disabled = false;
});
