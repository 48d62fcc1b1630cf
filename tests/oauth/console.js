// A person, and an attacker, with a browser: Debian's Chromium walks through the console's pages.
//
//   node console.js SETTINGS
//
// SETTINGS is JSON: `executable`, `walk` (a function below), `console` (the console's URL), and what the
// walk needs. Each line of standard output is JSON: what was met on the way, in its order, and at last
// `{"done": …}` with `errors` that the browser's console has shown and `strangers`, requests to others.

import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const settings = JSON.parse(process.argv[2]);
const home = new URL(settings.console);
const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
const say = (met) => console.log(JSON.stringify(met));

const walks = { looks, links, logs_in, follows, is_attacked, tests, makes, meets_agents, meets_webhooks, outlives };

const browser = await chromium.launch({
  executablePath: settings.executable,
  args: [
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-gpu',
    '--disable-quic',
    '--disable-sync',
    '--no-first-run',
    '--no-proxy-server',
    '--no-sandbox',
    // A name that an attacker has bound to this machine; all others fail at once.
    '--host-resolver-rules=MAP rebound.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost',
  ],
});
const errors = [];
const strangers = [];
try {
  const done = await walks[settings.walk]();
  say({ done: done ?? true, errors, strangers });
} finally {
  await browser.close();
}

// A page whose console and requests are noted.
async function open(options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.on('console', (message) => {
    if (message.type() === 'error') {
      errors.push(message.text());
    }
  });
  page.on('pageerror', (error) => errors.push(error.message));
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.origin !== home.origin && url.protocol.startsWith('http')) {
      strangers.push(request.url());
    }
  });
  return page;
}

// Each page in both schemes, wide and narrow: what axe-core finds, and whether it has to be scrolled
// sideways. Pictures go to the folder `pictures`, if there is one.
async function looks() {
  const found = [];
  for (const width of [360, 1440]) {
    for (const colorScheme of ['light', 'dark']) {
      const page = await open({ viewport: { width, height: 900 }, colorScheme });
      for (const [name, path] of Object.entries(settings.pages)) {
        await page.goto(new URL(path, home).href);
        if (path !== 'login') {
          await page.waitForFunction(() => document.getElementById('live').textContent !== '' || !document.body.dataset.events);
        }
        const at = `${name} ${width} ${colorScheme}`;
        if (settings.pictures) {
          await page.screenshot({ path: `${settings.pictures}/${name}-${width}-${colorScheme}.png`, fullPage: true });
        }
        const sideways = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
        if (sideways) {
          found.push(`${at}: wider than the window`);
        }
        // The page's own policy lets nothing in, not even this.
        const checked = await open({ viewport: { width, height: 900 }, colorScheme, bypassCSP: true });
        await checked.goto(new URL(path, home).href);
        await checked.addScriptTag({ path: axe });
        const { violations } = await checked.evaluate(() => axe.run());
        for (const { id, impact, nodes } of violations) {
          found.push(`${at}: ${impact} ${id} at ${nodes.map((node) => node.target).join(', ')}`);
        }
        await checked.context().close();
      }
      await page.context().close();
    }
  }
  return found;
}

// Links the connection, from the list to the provider and back; and again once it is told to.
async function links() {
  const page = await open();
  await page.goto(home.href);
  for (const round of ['first', 'second']) {
    if (round === 'second') {
      say({ linked: true });
      // The page is told by itself that the consent is gone.
      await page.goto(home.href);
      await page.waitForSelector(`#c-${settings.name} .state.bad`, { timeout: 60000 });
      await page.waitForSelector(`#link-${settings.name}`);
    }
    await page.click(`#link-${settings.name}`);
    await page.click('#link');
    if (round === 'first') {
      await page.fill('input[name=login]', 'jane');
      await page.fill('input[name=password]', 'any');
      await page.click('button[type=submit]');
    }
    await page.waitForSelector('input[name=prompt][value=consent]', { state: 'attached' });
    await page.click('button[type=submit]');
    await page.waitForURL((seen) => seen.origin === home.origin && seen.pathname === '/oauth/callback');
    await page.click('#outcome + p a');
    await page.waitForSelector('#state .state.good');
    await page.click('#trial button');
    await page.waitForSelector('#verdict');
    say({ verdict: await page.innerText('#outcome') });
  }
  page.on('dialog', (dialog) => dialog.accept());
  await page.click('#forget');
  await page.waitForSelector('#state .state.doubt');
  // What the provider's pages load is theirs.
  strangers.length = 0;
  errors.length = 0;
}

async function logs_in() {
  const page = await open();
  await page.goto(new URL('connections/p', home).href);
  say({ asked: page.url() });
  await page.fill('#token', 'wrong');
  await page.click('main button[type=submit]');
  say({ refused: await page.innerText('#why'), label: await page.getAttribute('#token', 'aria-invalid') });
  await page.fill('#token', settings.token);
  await page.click('main button[type=submit]');
  await page.waitForSelector('#state');
  say({ inside: page.url(), cookies: await page.context().cookies() });
  say({ script: await page.evaluate(() => document.cookie) });
  await page.click('#trial button');
  await page.waitForSelector('#verdict');
  say({ verdict: await page.innerText('#verdict') });
  await page.click('header button');
  await page.waitForSelector('#token');
  await page.goto(home.href);
  await page.waitForSelector('#token');
  // The answers to a wrong token and to none are errors to the browser, and meant.
  errors.length = 0;
}

// Stays on a page, the list if no other, while others change what it shows.
async function follows() {
  const page = await open();
  await page.goto(new URL(settings.page ?? '', home).href);
  await page.waitForFunction(() => document.getElementById('live').textContent === 'Live');
  await page.focus(settings.focus ?? `#test-${settings.name}`);
  say({ met: 'open' });
  for (const [met, selector, text] of settings.waits) {
    await page.waitForFunction(([selector, text]) => {
      const found = document.querySelector(selector);
      return text === null ? found === null : found?.textContent.includes(text);
    }, [selector, text], { timeout: 60000 });
    say({ met });
  }
  const focused = await page.evaluate(() => document.activeElement.id);
  const polls = await page.evaluate(() => performance.getEntriesByType('resource').filter((entry) => entry.initiatorType === 'fetch').length);
  // While it was away, each attempt to reach it was an error.
  errors.length = 0;
  return { focused, polls };
}

// Tests a connection on its page.
async function tests() {
  const page = await open();
  await page.goto(new URL(`connections/${settings.name}`, home).href);
  await page.fill('#path', '/hello?q=1');
  await page.selectOption('#method', 'POST');
  await page.click('#trial button');
  await page.waitForSelector('#verdict');
  const outcome = await page.innerText('#outcome');
  await page.waitForSelector('#requests .path');
  return { outcome, requests: await page.innerText('#requests'), page: await page.innerText('body') };
}

// Everything that a page of another site can try, on `attacker`, and under a name that leads here.
async function is_attacked() {
  const page = await open();
  // The person uses the console in the same browser.
  await page.goto(home.href);
  if (settings.token) {
    await page.fill('#token', settings.token);
    await page.click('main button[type=submit]');
    await page.waitForSelector('#rows');
  }
  const hostile = await page.context().newPage();
  await hostile.goto(settings.attacker);
  const tried = await hostile.evaluate(async ([home, name]) => {
    const tried = {};
    const reads = async (what, url, options) => {
      try {
        const answer = await fetch(url, { credentials: 'include', ...options });
        tried[what] = answer.type === 'opaque' ? 'opaque' : `read ${answer.status}`;
      } catch {
        tried[what] = 'blocked';
      }
    };
    await reads('read', `${home}api/connections`);
    await reads('blind read', `${home}api/connections`, { mode: 'no-cors' });
    await reads('change', `${home}api/reload`, { method: 'POST' });
    await reads('blind change', `${home}api/reload`, { method: 'POST', mode: 'no-cors' });
    await reads('forget', `${home}api/connections/${name}/link`, { method: 'DELETE' });
    await reads('own field', `${home}api/reload`, { method: 'POST', headers: { 'X-CSRF-Token': 'x' } });
    await reads('log out', `${home}logout`, { method: 'POST', mode: 'no-cors', body: new URLSearchParams({ csrf: 'x' }) });
    const loads = (what, element, settle) => new Promise((resolve) => {
      element.onload = () => resolve(tried[what] = settle?.(element) ?? 'loaded');
      element.onerror = () => resolve(tried[what] = 'blocked');
      document.body.append(element);
      setTimeout(() => resolve(tried[what] ??= 'blocked'), 3000);
    });
    const script = document.createElement('script');
    script.src = `${home}assets/console.js`;
    await loads('script', script);
    const frame = document.createElement('iframe');
    frame.src = home;
    frame.name = 'frame';
    await loads('frame', frame, (frame) => {
      try {
        return frame.contentDocument.getElementById('rows') ? 'read' : 'empty';
      } catch {
        return 'closed';
      }
    });
    const form = document.createElement('form');
    form.method = 'post';
    form.action = `${home}api/reload`;
    form.target = 'frame';
    document.body.append(form);
    form.submit();
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const ends = (what, made) => new Promise((resolve) => {
      made.onopen = () => resolve(tried[what] = 'open');
      made.onerror = () => resolve(tried[what] = 'blocked');
    });
    await ends('web socket', new WebSocket(`${home.replace('http', 'ws')}events?view=list`));
    await ends('event source', new EventSource(`${home}events?view=list`, { withCredentials: true }));
    const other = open(home);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    try {
      tried.window = other.document.getElementById('rows') ? 'read' : 'empty';
    } catch {
      tried.window = 'closed';
    }
    return tried;
  }, [home.href, settings.name]);
  // The same page of ours under a name of theirs.
  const answer = await hostile.goto(`http://rebound.example:${home.port}/`);
  tried.rebound = answer.status();
  tried['rebound text'] = (await hostile.innerText('body')).includes('Connections');
  // Whoever was there before is there still.
  await page.reload();
  tried.person = await page.isVisible('#rows');
  errors.length = 0;
  strangers.length = 0;
  return tried;
}

// Fills in the form of a new connection, and has it checked once keybearer was started anew.
async function outlives() {
  const page = await open();
  const started = async () => {
    const status = await page.request.get(new URL('api/status', home).href);
    return (await status.json()).started_at;
  };
  await page.goto(new URL('new', home).href);
  await page.fill('#f-name', 'kept');
  await page.fill('#f-connection-base-url', 'https://kept.example');
  const before = await started();
  say({ met: 'filled' });
  for (let now = before; now === before;) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    now = await started().catch(() => before);
  }
  await page.click('button[value=check]');
  await page.waitForSelector('#result:not([hidden])');
  // The first answer was a refusal, which is an error to the browser.
  errors.length = 0;
  return await page.innerText('#result-toml');
}

// Fills in the form of a new connection for each of the drafts, has it checked, and copies the result.
async function makes() {
  const page = await open({ permissions: ['clipboard-read', 'clipboard-write'] });
  const copied = {};
  for (const draft of settings.drafts) {
    await page.goto(new URL('new', home).href);
    await page.selectOption('#f-type', draft.auth.type);
    await page.$$eval('details', (all) => all.forEach((details) => { details.open = true; }));
    await fill(page, draft, '');
    await page.click('button[value=check]');
    await page.waitForSelector('#result:not([hidden])');
    const wrong = await page.innerText('#form-errors');
    if (wrong !== '') {
      throw new Error(`${draft.name}: ${wrong}`);
    }
    await page.click('#copy');
    await page.waitForFunction(() => document.getElementById('copied').textContent === 'Copied');
    copied[draft.name] = await page.evaluate(() => navigator.clipboard.readText());
  }
  return copied;
}

// The fields of a draft, by their keys.
async function fill(page, values, path) {
  for (const [key, value] of Object.entries(values)) {
    const field = page.locator(`[data-field="${path}${key}"]:visible`).first();
    const input = await field.count() > 0 ? await field.getAttribute('data-input') : null;
    const control = field.locator('[data-part="value"]').first();
    switch (input) {
      case null:
        await fill(page, value, `${path}${key}.`);
        break;
      case 'type':
        break;
      case 'choice':
        await control.selectOption(value);
        break;
      case 'list':
      case 'one-or-more':
        await control.fill([value].flat().join('\n'));
        break;
      case 'secret':
        await fillSecret(field, value);
        break;
      case 'secrets': {
        const rows = field.locator('[data-part="row"]');
        for (const [index, [name, secret]] of Object.entries(value).entries()) {
          if (index > 0) {
            await field.locator('[data-part="add"]').click();
          }
          await rows.nth(index).locator('[data-part="name"]').fill(name);
          await fillSecret(rows.nth(index), secret);
        }
        break;
      }
      default:
        await control.fill(value);
    }
  }
}

// Where a secret is: `{ env }`, `{ file }`, with `format`; or a text, empty or not.
async function fillSecret(holder, secret) {
  const source = typeof secret === 'object' ? ['env', 'file'].find((source) => source in secret) : secret === '' ? 'empty' : 'text';
  await holder.locator('[data-part="source"]').selectOption(source);
  if (source !== 'empty') {
    await holder.locator('[data-part="value"]').fill(secret[source] ?? secret);
  }
  if (secret.format) {
    await holder.locator('[data-part="format"]').fill(secret.format);
  }
}

// Follows agents that come and go: what axe-core finds at each step.
async function meets_agents() {
  const found = [];
  // The page's own policy lets nothing in, not even what checks it.
  const page = await open({ bypassCSP: true });
  await page.goto(new URL('agents', home).href);
  await page.addScriptTag({ path: axe });
  for (const [met, text] of settings.waits) {
    await page.waitForFunction((text) => document.querySelector('main').innerText.includes(text), text, { timeout: 60000 });
    const { violations } = await page.evaluate(() => axe.run());
    found.push(...violations.map(({ id, impact }) => `${met}: ${impact} ${id}`));
    say({ met, page: await page.innerText('main') });
  }
  return found;
}

// Copies an endpoint's URL, sees what arrives there, opens and replays it, and asks for another URL.
async function meets_webhooks() {
  const page = await open({ permissions: ['clipboard-read', 'clipboard-write'] });
  const isLive = () => page.waitForFunction(() => document.getElementById('live').textContent === 'Live');
  const text = (selector, part) => page.waitForFunction(
    ([selector, part]) => document.querySelector(selector)?.textContent.includes(part),
    [selector, part],
    { timeout: 60000 },
  );
  await page.goto(new URL('webhooks', home).href);
  await isLive();
  // By the keyboard: from the endpoint's link on to the button.
  await page.focus('#endpoints th a');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await text('#endpoints .copied', 'Copied');
  say({ copied: await page.evaluate(() => navigator.clipboard.readText()) });
  await page.click('#endpoints th a');
  await isLive();
  await text('#state', 'Idle');
  say({ met: 'open' });
  await text('#deliveries .state.good', 'Delivered');
  say({ listed: await page.innerText('#deliveries') });
  await page.selectOption('#only', 'delivered');
  await page.click('.search button');
  await page.click('#deliveries a');
  await isLive();
  await page.focus('#replay');
  await page.keyboard.press('Enter');
  await text('#replayed', 'delivered again');
  await text('#state', 'Delivered');
  const pwned = await page.evaluate(() => window.pwned);
  say({ replayed: true, content: await page.innerText('#content'), pwned });
  await page.click('.trail a:last-child');
  await isLive();
  const before = await page.innerText('#url code');
  await page.selectOption('#overlap', '7d');
  await page.click('#rotate button');
  await text('#rotated', 'is new');
  await page.waitForFunction((before) => document.querySelector('#url code').textContent !== before, before, { timeout: 60000 });
  return { url: await page.innerText('#url code'), note: await page.innerText('#url') };
}
