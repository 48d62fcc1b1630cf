// A person with a browser: Debian's Chromium, a fresh profile, signs in at the test's authorization
// server, consents, and tells where that led.
//
//   node browser.js SETTINGS
//
// SETTINGS is JSON: `executable`, `url`, `login`; `click`, selectors of what to click first, on the
// page at `url` and those that follow; `until`, the origin that ends the way (default: that of the URL's `redirect_uri`).
// Standard output is one line of JSON: `url`, `status`, `text` of the last page, and `errors` that
// the browser's console has shown there.

import { chromium } from 'playwright-core';

const { executable, url, login, click, until } = JSON.parse(process.argv[2]);
const origin = until ?? new URL(new URL(url).searchParams.get('redirect_uri')).origin;

const browser = await chromium.launch({
  executablePath: executable,
  args: [
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-gpu',
    '--disable-quic',
    '--disable-sync',
    '--no-first-run',
    '--no-proxy-server',
    '--no-sandbox',
    // The server's pages ask for fonts of the internet: such names fail at once.
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost',
  ],
});
try {
  console.log(JSON.stringify(await visit(await browser.newPage())));
} finally {
  await browser.close();
}

async function visit(page) {
  let last;
  const errors = [];
  page.on('response', (response) => {
    if (response.request().isNavigationRequest()) {
      last = response;
    }
  });
  page.on('console', (message) => {
    const { url: place } = message.location();
    // A browser asks every site for an icon, and complains to nobody else that there is none.
    const icon = place.endsWith('/favicon.ico');
    if (message.type() === 'error' && place.startsWith(origin) && !icon) {
      errors.push(message.text());
    }
  });
  await page.goto(url);
  for (const selector of click ?? []) {
    await page.click(selector);
  }
  await page.fill('input[name=login]', login);
  await page.fill('input[name=password]', 'any');
  await page.click('button[type=submit]');
  await page.waitForSelector('input[name=prompt][value=consent]', { state: 'attached' });
  await page.click('button[type=submit]');
  await page.waitForURL((seen) => seen.origin === origin);
  const text = await page.innerText('body');
  return { url: page.url(), status: last.status(), text, errors };
}
