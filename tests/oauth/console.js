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

const walks = { looks, links, logs_in, follows, is_attacked, tests };

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

// Stays on the list while others change what it shows.
async function follows() {
  const page = await open();
  await page.goto(home.href);
  await page.waitForFunction(() => document.getElementById('live').textContent === 'Live');
  await page.focus(`#test-${settings.name}`);
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
